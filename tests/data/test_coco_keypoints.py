import json

import pytest

from ppn.data.coco_keypoints import read_coco_keypoints
from ppn.errors import DataError

COCO = {
    "images": [
        {"id": 7, "file_name": "a\\1.png", "width": 100, "height": 50},
        {"id": 8, "file_name": "2.png"},
        {"id": 9, "file_name": "without.png"},
    ],
    "annotations": [
        {"id": 1, "image_id": 8, "category_id": 1, "keypoints": [3.5, 4, 2, 0, 0, 0]},
        {"id": 2, "image_id": 7, "category_id": 1, "keypoints": [100, 50, 2, 1, 1, 1]},
        {"id": 3, "image_id": 9, "category_id": 1, "bbox": [0, 0, 2, 2]},
    ],
    "categories": [{"id": 1, "name": "bird", "keypoints": ["head", "tail"], "skeleton": []}],
}


def file(tmp_path, **changed):
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(COCO | changed))
    return path


def test_keypoints_are_read(tmp_path):
    clicks = read_coco_keypoints(file(tmp_path))
    assert clicks.names == ["2.png", "a/1.png"]
    assert clicks.part_names == ["head", "tail"]
    assert clicks.points.tolist() == [[[3.5, 4, 1], [0, 0, 0]], [[100, 50, 1], [0, 0, 0]]]
    assert clicks.answered.tolist() == [[True, False], [True, True]]


def annotated(image=7, category=1, keypoints=(1, 2, 2, 3, 4, 2)):
    return {"image_id": image, "category_id": category, "keypoints": list(keypoints)}


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ([annotated(), annotated()], "two objects in image a/1.png"),
        ([annotated(image=5)], "image_id 5, which the file does not list"),
        ([annotated(category=5)], "category_id 5, which"),
        ([annotated(keypoints=(1, 2, 2))], "3 values for 2 keypoints"),
        ([annotated(keypoints=(1, 2, 3, 1, 2, 2))], "visibility of 'head' is 3"),
        ([annotated(keypoints=(101, 2, 2, 1, 2, 2))], "'head' is at 101, 2, outside"),
        ([annotated(keypoints=(1, 2, 0, 1, 2, 0))], "no labelled keypoint"),
        ([], "no labelled keypoint"),
        ([{"image_id": "7"}], "does not hold COCO keypoints"),
    ],
)
def test_wrong_files_are_refused(tmp_path, annotations, said):
    path = file(tmp_path, annotations=annotations)
    with pytest.raises(DataError) as error:
        read_coco_keypoints(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_an_id_that_two_images_have_is_refused(tmp_path):
    with pytest.raises(DataError, match="one id to two images"):
        read_coco_keypoints(file(tmp_path, images=COCO["images"][:1] * 2))
