"""The file that a container's output goes to."""

import re

import pytest

from pytest_agent_sandbox.host import log_file
from pytest_agent_sandbox.host.log_file import LogFile

SECRET = "sk-very-secret-value"


class Cleaner:
    """Masks the secret, and counts."""

    def __init__(self):
        self.count = 0

    def __call__(self, text):
        self.count += text.count(SECRET)
        return text.replace(SECRET, "***")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "container.log"


@pytest.fixture(params=["raw", "clean"])
def cleaner(request):
    return Cleaner() if request.param == "clean" else None


def written(path, chunks, clean=None, **settings):
    file = LogFile(path, clean, **settings)
    for chunk in chunks:
        file.write(chunk)
    file.flush()
    file.close()
    return path.read_bytes()


TEXT = "line one\n\u00e4\u4e2d\U0001f600 two\r\n\n\tlast one without an end"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_all_of_it_arrives_however_it_is_cut(path, cleaner, size):
    output = TEXT.encode()
    chunks = [output[n : n + size] for n in range(0, len(output), size)]
    assert written(path, chunks, cleaner) == output


def test_output_that_is_no_text(path):
    output = b"\xff\xfe\x00\x1b[2J\n\xc3\n\xc3"
    assert written(path, [output]) == output
    path.unlink()
    shown = written(path, [output], Cleaner()).decode()
    assert shown == "\ufffd\ufffd\x00\x1b[2J\n\ufffd\n\ufffd"


def test_without_cleaning_output_is_there_at_once(path):
    file = LogFile(path)
    file.write(b"no end of line")
    assert path.read_bytes() == b"no end of line"
    file.close()


def test_with_cleaning_a_line_is_there_when_it_ends(path):
    file = LogFile(path, Cleaner())
    file.write(b"one\ntw")
    assert path.read_bytes() == b"one\n"
    file.write(b"o\n")
    assert path.read_bytes() == b"one\ntwo\n"
    file.close()


@pytest.mark.parametrize("size", [1, 5, 19, 20, 21, 1000])
def test_a_secret_that_comes_in_pieces_is_masked_and_counted_once(path, size):
    output = f"a {SECRET} b\n{SECRET}\nend {SECRET}".encode()
    chunks = [output[n : n + size] for n in range(0, len(output), size)]
    clean = Cleaner()
    assert written(path, chunks, clean) == b"a *** b\n***\nend ***"
    assert clean.count == 3


@pytest.mark.parametrize("before", range(40))
def test_a_secret_where_a_long_line_is_cut(path, monkeypatch, before):
    monkeypatch.setattr(log_file, "_LONGEST_LINE", 100)
    monkeypatch.setattr(log_file, "_HELD_BACK", 30)
    output = ("\u00e4" * (65 + before) + SECRET + "y" * 300 + SECRET).encode()
    clean = Cleaner()
    chunks = [output[n : n + 10] for n in range(0, len(output), 10)]
    text = written(path, chunks, clean).decode()
    assert text == "\u00e4" * (65 + before) + "***" + "y" * 300 + "***"
    assert clean.count == 2


def test_a_line_without_an_end_does_not_fill_the_memory(path):
    file = LogFile(path, Cleaner())
    for _ in range(100):
        file.write(b"x" * 10_000)
        assert len(file._unfinished) <= log_file._LONGEST_LINE
    assert path.stat().st_size > 900_000
    file.close()


def numbered(count):
    return [f"line {n:06} \u00e4\n".encode() for n in range(count)]


def the_note(text):
    (number,) = re.findall(r"… ([\d,]+) bytes of output were dropped here …", text)
    return int(number.replace(",", ""))


@pytest.mark.parametrize("count", [1000, 1500, 5000, 20_000])
@pytest.mark.parametrize("together", [1, 7, 5000])
def test_a_large_log_keeps_its_begin_and_its_end_and_counts_the_rest(
    path, cleaner, count, together
):
    lines = numbered(count)
    chunks = [b"".join(lines[n : n + together]) for n in range(0, count, together)]
    output = written(path, chunks, cleaner, limit=10_000)
    assert len(output) <= 10_000
    text = output.decode(errors="replace")
    assert text.startswith("line 000000 \u00e4\nline 000001")
    assert text.endswith(f"line {count - 1:06} \u00e4\n")
    head, tail = re.split(r"\n… [\d,]+ bytes of output were dropped here …\n", text)
    assert len(head) >= 2000
    assert len(tail) >= 2000
    assert re.match(r"line \d{6} ", tail)  # whole lines
    kept = len(output) - len(re.search(rb"\n\xe2\x80\xa6 .* \xe2\x80\xa6\n", output)[0])
    assert the_note(text) == sum(map(len, lines)) - kept


def test_a_log_that_fits_is_left_alone(path, cleaner):
    lines = numbered(600)
    assert written(path, lines, cleaner, limit=10_000) == b"".join(lines)


def test_a_large_log_without_line_breaks_keeps_its_end_too(path, cleaner):
    output = written(path, [b"x" * 30_000, b"the end"], cleaner, limit=10_000)
    assert output.startswith(b"x" * 2000)
    assert output.endswith(b"xthe end")
    assert len(output) > 4900
    assert the_note(output.decode()) > 20_000


def test_an_earlier_attempt_s_log_stays(path, cleaner):
    path.parent.mkdir()
    path.write_bytes(b"first attempt\n")
    output = written(path, numbered(5000), cleaner, limit=10_000)
    assert output.startswith(b"first attempt\nline 000000")
    assert output.endswith("line 004999 \u00e4\n".encode())


def test_what_comes_again_is_written_anew(path, cleaner):
    path.parent.mkdir()
    path.write_bytes(b"first attempt\n")
    file = LogFile(path, cleaner, limit=10_000)
    for chunk in [*numbered(2000), b"half a l\xc3"]:
        file.write(chunk)
    file.start_again()
    assert path.read_bytes() == b"first attempt\n"
    for line in numbered(3):
        file.write(line)
    file.flush()
    assert path.read_bytes() == b"first attempt\n" + b"".join(numbered(3))
    # And is counted anew.
    for line in numbered(2000):
        file.write(line)
    dropped = the_note(path.read_text("utf-8"))
    assert dropped < 2003 * len(numbered(1)[0])
    file.close()


def test_the_last_lines(path, cleaner):
    path.parent.mkdir()
    path.write_bytes(b"first attempt\n")
    file = LogFile(path, cleaner)
    assert file.tail(5) == ""
    file.write(b"one\ntwo\nthree\n")
    assert file.tail(2) == "two\nthree"
    assert file.tail(100) == "one\ntwo\nthree"
    file.write(b"x" * 1_000_000 + b"\nend\n")
    assert file.tail(1) == "end"
    file.close()
    path.unlink()
    assert file.tail(5) == ""
