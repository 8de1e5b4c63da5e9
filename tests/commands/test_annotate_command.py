import importlib.util
import json

import pytest

from ppn.__main__ import main
from ppn.commands import annotate as command
from ppn.data.synthetic import SyntheticBirdsDataModule


@pytest.fixture
def served(monkeypatch):
    """What the command would serve, without serving it."""
    import ppn.app.serve

    seen = {}

    def serve(title, build, host, port, ready):
        seen.update(title=title, host=host, port=port)
        ready(f"http://{host}:{port}/")

    monkeypatch.setattr(ppn.app.serve, "expect_gradio", lambda: None)
    monkeypatch.setattr(ppn.app.serve, "serve", serve)
    return seen


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "birds.yaml"
    options = {"num_classes": 2, "train_per_class": 2, "draw_size": 64, "val_fraction": 0}
    path.write_text(json.dumps({"class_path": "SyntheticBirdsDataModule", "init_args": options}))
    return str(path)


def test_it_serves_on_this_machine_alone_unless_told(served, config, tmp_path, capsys):
    out = tmp_path / "clicks.csv"
    assert main(["annotate", "--data", config, "--out", str(out)]) == 0
    assert served == {"title": "ppn annotate", "host": "127.0.0.1", "port": 7860}
    said = capsys.readouterr().out
    assert f"Open http://127.0.0.1:7860/ in a browser; answers go to {out}." in said
    assert "Whoever" not in said
    assert out.read_text() == "image,part,x,y\n"
    words = ["annotate", "--data", config, "--out", str(out), "--host", "0.0.0.0", "--port", "80"]
    assert main(words) == 0
    assert (served["host"], served["port"]) == ("0.0.0.0", 80)
    assert "Whoever can reach this machine can open the page" in capsys.readouterr().out


def test_parts_are_those_given_or_of_the_file_or_of_the_data(tmp_path):
    data = SyntheticBirdsDataModule(num_classes=2, train_per_class=2, draw_size=64)
    path = tmp_path / "clicks.csv"
    assert command._parts(None, path, data) == data.part_names
    path.write_text("image,part,x,y\na,tail,,\na,head,1,1\nb,tail,,\n")
    assert command._parts(None, path, data) == ["tail", "head"]
    assert command._parts(" left wing,tail", path, data) == ["left wing", "tail"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "clicks.txt"], "--out clicks.txt does not end in .csv"),
        (["--parts", "head,,tail"], "--parts 'head,,tail' has an empty name"),
        (["--parts", "head,head"], "has 'head' twice"),
        (["--data", "birds"], "There is no data set 'birds'"),
        (["--data", "none.yaml"], "none.yaml is missing"),
        (["--ckpt", "none.ckpt"], "none.ckpt"),
        (["--data.x", "1"], "has no option --data.x"),
    ],
)
def test_mistakes_are_told_in_one_sentence(served, config, tmp_path, capsys, words, said):
    default = {"--data": config, "--out": str(tmp_path / "clicks.csv")}
    given = dict(zip(words[::2], words[1::2], strict=True))
    line = [word for pair in {**default, **given}.items() for word in pair]
    assert main(["annotate", *line]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not served
    assert not (tmp_path / "clicks.csv").exists()


def test_without_gradio_it_says_what_to_install(config, tmp_path, capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "ppn.app.serve.find_spec", lambda name: None if name == "gradio" else found(name)
    )
    assert main(["annotate", "--data", config, "--out", str(tmp_path / "clicks.csv")]) == 2
    assert 'pip install "ppn[app]"' in capsys.readouterr().err
