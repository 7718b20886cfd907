"""`make fuzz` ends with what was done to each reader."""

from fuzz.guard import ACCEPTED, FUZZING, REFUSED, TALLY


def pytest_terminal_summary(terminalreporter):
    if not (TALLY and FUZZING):
        return
    terminalreporter.section("hostile files")
    rows = [(name, found.total(), found[ACCEPTED], found[REFUSED]) for name, found in TALLY.items()]
    rows.append(("in all", *(sum(column) for column in list(zip(*rows, strict=True))[1:])))
    terminalreporter.write_line(f"{'reader':34}{'cases':>8}{'accepted':>10}{'refused':>10}")
    for name, *counts in rows:
        cases, accepted, refused = counts
        terminalreporter.write_line(f"{name:34}{cases:>8,}{accepted:>10,}{refused:>10,}")
