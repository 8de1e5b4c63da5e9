"""CSV files of a user: usual names of columns, and what is not used."""

import logging

import numpy as np
import pytest

from ppn.data.folder import ImageFolderDataModule
from ppn.errors import DataError
from tests.data.test_folder import image


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO, "lightning.pytorch.utilities.rank_zero")
    return lambda: [record.getMessage() for record in caplog.records]


def write(root, header, row, comma=","):
    """Write four images and a CSV file; `{}` in a row is the image's number."""
    lines = [header.replace(",", comma)]
    for i in range(4):
        image(0, i).save(root / f"{i}.png")
        lines.append(row.replace("{}", str(i)).replace(",", comma))
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    data = ImageFolderDataModule(
        str(root), str(root / "list.csv"), num_workers=0, test_fraction=0.5, val_fraction=0
    )
    data.class_names  # noqa: B018 - it is read now
    return data


@pytest.mark.parametrize(
    ("columns", "numbers"),
    [
        ("x0,y0,x1,y1", "2,3,12,18"),
        ("x1,y1,x2,y2", "2,3,12,18"),
        ("xmin,ymin,xmax,ymax", "2,3,12,18"),
        ("XMin,YMin,XMax,YMax", "2,3,12,18"),
        ("x_min,y_min,x_max,y_max", "2,3,12,18"),
        ("bbox_x0,bbox_y0,bbox_x1,bbox_y1", "2,3,12,18"),
        ("bbox_x1,bbox_y1,bbox_x2,bbox_y2", "2,3,12,18"),
        ("box_xmin,box_ymin,box_xmax,box_ymax", "2,3,12,18"),
        ("left,top,right,bottom", "2,3,12,18"),
        ("xmin,xmax,ymin,ymax", "2,12,3,18"),
        ("x,y,w,h", "2,3,10,15"),
        ("x,y,width,height", "2,3,10,15"),
        ("bbox_x,bbox_y,bbox_w,bbox_h", "2,3,10,15"),
        ("bbox_x,bbox_y,bbox_width,bbox_height", "2,3,10,15"),
        ("left,top,width,height", "2,3,10,15"),
        ("min_x,min_y,max_x,max_y", "2,3,12,18"),
        ("top_left_x,top_left_y,bottom_right_x,bottom_right_y", "2,3,12,18"),
        ("Roi.X1,Roi.Y1,Roi.X2,Roi.Y2", "2,3,12,18"),
        ("cx,cy,w,h", "7,10.5,10,15"),
        ("x_center,y_center,width,height", "7,10.5,10,15"),
        ("bbox_center_x,bbox_center_y,bbox_width,bbox_height", "7,10.5,10,15"),
        # The image's own size, as in lists made from Pascal VOC.
        ("width,height,xmin,ymin,xmax,ymax", "32,24,2,3,12,18"),
    ],
)
def test_usual_names_of_box_columns_are_known(columns, numbers, tmp_path, told):
    data = write(tmp_path, f"path,label,{columns}", f"{{}}.png,owl,{numbers}")
    assert data.train_source.read(0).box.tolist() == [2, 3, 12, 18]
    assert data.part_names == []
    unused = [line for line in told() if "not used" in line]
    assert bool(unused) == columns.startswith("width")


@pytest.mark.parametrize("comma", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "header",
    [
        "path,label",
        "filename,class",
        "file_name,category",
        "Image,Label",
        "image_path,class_name",
        "filepaths,labels",
        "Path,ClassId",
        "img,target",
    ],
)
def test_usual_names_and_commas_of_lists_are_known(header, comma, tmp_path, told):
    data = write(tmp_path, header, "{}.png,owl", comma)
    assert data.class_names == ["owl"]
    assert {data.train_source.name(i) for i in range(2)} < {f"{i}.png" for i in range(4)}
    assert told() == [data.split_note]


def test_columns_that_are_not_used_are_named(tmp_path, told):
    header = "path,label,photographer,eye_x,eye_y,tail_x,width,nose\x1b"
    data = write(tmp_path, header, "{}.png,owl,me,1,2,3,32,4")
    assert data.part_names == ["eye"]
    (line,) = [line for line in told() if "not used" in line]
    assert line.endswith(r"that are not used: 'photographer', 'tail_x', 'width', 'nose\x1b'.")


def test_a_column_without_a_name_is_of_no_interest(tmp_path, told):
    data = write(tmp_path, ",path,label", "{},{}.png,owl")  # pandas writes its index so
    assert told() == [data.split_note]


def test_splits_may_have_their_usual_names(tmp_path, told):
    for i in range(4):
        image(0, i).save(tmp_path / f"{i}.png")
    rows = [
        f"{i}.png,{'ab'[i % 2]},{s}" for i, s in enumerate(("Train", "training", "valid", "TEST"))
    ]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    data = ImageFolderDataModule(str(tmp_path), str(tmp_path / "list.csv"), num_workers=0)
    found = {
        split: [data.view(split).source.name(int(i)) for i in data.view(split).indices]
        for split in ("train", "val", "test")
    }
    assert found == {"train": ["0.png", "1.png"], "val": ["2.png"], "test": ["3.png"]}
    assert data.split_note == ""


def test_labels_that_are_numbers_sort_as_numbers(tmp_path):
    lines = ["path,label"]
    for i, label in enumerate((10, 2, 1, 30)):
        image(0, i).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{label}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    data = ImageFolderDataModule(str(tmp_path), str(tmp_path / "list.csv"))
    assert data.class_names == ["1", "2", "10", "30"]


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        ("image_id,label", "{}.png,owl", "has no column 'path': its first line must name"),
        ("path,species", "{}.png,owl", "has no column 'label': its first line must name"),
        ("path,label,xmin,ymin,xmax", "{}.png,owl,1,2,3", "no column 'ymax': a box needs xmin"),
        ("path,label,bbox_x0,bbox_y0,bbox_x1", "{}.png,owl,1,2,3", "no column 'bbox_y1'"),
        ("image_id,label", "{}.png,owl", "and names 'image_id', 'label'"),
        ("path,label,x0,y0,x1,y1", "{}.png,owl,.1,.2,.5,1", "boxes that are shares of the image's"),
        ("path,label,eye_x,eye_y", "{}.png,owl,.1,.2", "keypoints that are shares of the image's"),
        ("path,label,label", "{}.png,owl,owl", "two columns 'label'"),
        ("path,label,split", "{}.png,owl,test", "puts no image into the split train"),
        ("path,label,split", "{}.png,owl,fold1", "split is 'fold1', but must be train, val or"),
        ("path,label,x,y,w,h", "{}.png,owl,1,2,0,4", "line 2: the box has no width or no height"),
        ("path,label,xmin,ymin,xmax,ymax", "{}.png,owl,1,2,x,4", "xmax is 'x', which is not a"),
    ],
)
def test_mistakes_are_named_in_one_sentence(header, row, said, tmp_path):
    with pytest.raises(DataError, match=said) as error:
        write(tmp_path, header, row)
    text = str(error.value)
    assert text.startswith(str(tmp_path / "list.csv"))
    assert "\n" not in text
    assert "data set" not in text


def test_a_missing_list_is_not_advised_like_a_published_data_set(tmp_path):
    data = ImageFolderDataModule(str(tmp_path), str(tmp_path / "list.csv"))
    with pytest.raises(DataError, match=r"list\.csv is missing: correct csv, the path of the list"):
        data.class_names  # noqa: B018


def test_boxes_may_be_empty_where_they_are_unknown(tmp_path):
    data = write(tmp_path, "path,label,x,y,w,h", "{}.png,owl,,,,")
    assert data.train_source.read(0).box is None
    assert np.isnan(data.train_source._boxes).all()


def test_absolute_paths_below_the_folder_are_known(tmp_path):
    data = write(tmp_path, "path,label", f"{tmp_path}/{{}}.png,owl")
    assert {data.train_source.name(i) for i in range(2)} < {f"{i}.png" for i in range(4)}
    with pytest.raises(DataError, match=r"path '/other/0\.png' must lie below"):
        write(tmp_path, "path,label", "/other/{}.png,owl")
