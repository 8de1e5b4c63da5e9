from rich.table import Table

from ppn.io.terminal import console


def test_nothing_is_read_as_markup(capsys):
    names = ("[red]", "[/b]", "ppn[bench]", ":smiley:", "[link=x]y[/link]")
    table = Table(*names, title="[red]title", caption="pip install 'ppn[bench]'")
    table.add_row(*names)
    console().print(table)
    console().print("A class may be called [red], and [/b] or :smiley: too.")
    console(stderr=True).print("[/nothing]")
    out, err = capsys.readouterr()
    assert all(out.count(name) >= 2 for name in names)
    assert "[red]title" in out
    assert "pip install 'ppn[bench]'" in out
    assert "called [red], and [/b] or :smiley: too." in out
    assert err == "[/nothing]\n"


def test_a_long_line_is_not_broken_in_a_file(capsys):
    console().print("x" * 239)
    assert capsys.readouterr().out == "x" * 239 + "\n"
