"""Workers import the user's own files that their work comes from, and no others."""

from pathlib import Path

from archimed.userfile import load_file, load_object
from archimed.workers import Crew, spread
from archimed.workers.desk import write_order

WORK = "class Doubling:\n    def __call__(self, item):\n        return 2 * item\n"


def test_a_file_that_the_work_does_not_come_from_is_not_imported(tmp_path: Path) -> None:
    used, other = tmp_path / "used.py", tmp_path / "other.py"
    used.write_text(WORK)
    other.write_text("")
    make_work = load_object(f"{used}:Doubling")
    load_file(other)
    other.write_text("raise SystemExit('executed')")
    assert write_order(make_work, 1, None).files == (str(used),)
    with spread(make_work, Crew(2), threads=1) as answers:
        assert list(answers([1, 2, 3])) == [2, 4, 6]
