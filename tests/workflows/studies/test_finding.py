"""What a study leaves: files, and words that follow from numbers."""

import pytest
from matplotlib.figure import Figure

from noisette.report.words import listed
from noisette.workflows.studies.finding import (
    Drawn,
    Finding,
    Table,
    curve,
    differ,
    floors,
    in_floors,
    percent,
    titled,
    write_finding,
)


def test_a_finding_is_a_page_a_table_and_figures(tmp_path):
    figure = Figure()
    figure.subplots().plot([1, 2], [3, 4])
    table = Table("Cells", ("what", "how much"), [("one", "1"), ("two", "2")])
    found = Finding("Study", "It was found.", [table], {"curve": Drawn(figure, "A curve.")})
    written = write_finding(found, tmp_path, ["command: `noisette study`"])
    assert [path.name for path in written] == ["README.md", "table.md", "curve.png", "curve.svg"]
    assert all(path.stat().st_size > 0 for path in written)
    page = (tmp_path / "README.md").read_text()
    for part in ("# Study", "It was found.", "| one | 1 |", "![A curve.](curve.png)", "- command: `noisette study`"):
        assert part in page
    assert (tmp_path / "table.md").read_text() == (
        "**Cells**\n\n| what | how much |\n| --- | ---: |\n| one | 1 |\n| two | 2 |\n"
    )


def test_intervals_that_overlap_cannot_be_told_apart(metric):
    assert differ(metric(2.0, 0.1), metric(1.0, 0.1)) == 1
    assert differ(metric(1.0, 0.1), metric(2.0, 0.1)) == -1
    assert differ(metric(1.0, 0.6), metric(2.0, 0.6)) == 0


def test_numbers_come_with_their_interval_and_unit(metric, measured):
    assert percent(metric(0.5, 0.1)) == "50.0% (40.0% to 60.0%)"
    assert floors(metric(3.0, 1.0, real=0.5)) == "6 (4 to 8)"
    assert in_floors(metric(3.0, 1.0, real=0.5)) == 6
    drawn = curve([1, 2], [metric(1.0, 0.5, 0.5), metric(2.0, 0.5, 0.5)], unit=True)
    assert (drawn.value, drawn.low, drawn.high) == ([2, 4], [1, 3], [3, 5])
    assert curve([1], [metric(1.0, 0.5, 0.5)]).value == [1.0]
    assert titled("what", measured(2.0)) == "what\n90.0% right, 2 floors"


@pytest.mark.parametrize(("parts", "text"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")])
def test_lists_read_as_people_write_them(parts, text):
    assert listed(parts) == text
