"""Pictures are found in JSON, told by their bytes, and kept as files."""

import copy
import time

import pytest

from pytest_agent_sandbox.evidence import limits, pictures_in_json
from pytest_agent_sandbox.evidence.page.write import embed_pictures
from pytest_agent_sandbox.evidence.picture_files import PictureFiles, find, is_name, names_in
from pytest_agent_sandbox.evidence.picture_kinds import picture_of
from pytest_agent_sandbox.evidence.story import Step, TestStory
from tests.evidence.images import (
    GIF,
    JPEG,
    SVG,
    WEBP,
    WEBP_PLAIN,
    data_url,
    encoded,
    png,
)

SECRET = "sk-very-secret-value"
KINDS = {
    "png": (png(), ".png", "image/png"),
    "jpeg": (JPEG, ".jpg", "image/jpeg"),
    "gif": (GIF, ".gif", "image/gif"),
    "webp": (WEBP, ".webp", "image/webp"),
    "webp, plain": (WEBP_PLAIN, ".webp", "image/webp"),
}
TWO_PIXELS_OF_LOSSLESS_WEBP = b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\x02\x40\0\0"


def names_for(value):
    """The value with the place in the order of finding for each picture."""
    seen = []

    def keep(picture):
        seen.append(picture.data)
        return f"<{len(seen)}>"

    return pictures_in_json.replace(value, keep)


@pytest.mark.parametrize(("data", "suffix", "media_type"), KINDS.values(), ids=list(KINDS))
def test_the_kinds_are_told_by_their_bytes(data, suffix, media_type):
    found = picture_of(data)
    assert (found.data, found.suffix, found.media_type) == (data, suffix, media_type)
    assert (found.width, found.height) == (3, 2)


def test_more_of_how_jpeg_and_webp_say_their_size():
    assert picture_of(TWO_PIXELS_OF_LOSSLESS_WEBP).width == 3
    filled = JPEG[:2] + b"\xff\xff\xff" + JPEG[2:]
    assert picture_of(filled).width == 3
    assert picture_of(JPEG[:2] + b"\xff\x01" + JPEG[2:]).width == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_that_breaks_off_in_its_head_is_none(kind):
    data = KINDS[kind][0]
    sizes = {}
    for length in range(len(data)):
        found = picture_of(data[:length])
        if found is not None:
            sizes[length] = (found.width, found.height)
    assert set(sizes.values()) == {(3, 2)}
    assert min(sizes) >= 10


@pytest.mark.parametrize(
    "data",
    [b"", b"x", SVG, b"%PDF-1.7", b"BM" + bytes(60), png(0, 2), png(2, 0), b"GIF89a" + bytes(10),
     b"\xff\xd8\xff" + b"\xff" * 5000, b"\xff\xd8" + b"\xff\xe0\0\0" * 50_000,
     b"RIFF\0\0\0\0WEBPVP8X", b"RIFF\0\0\0\0WAVEfmt " + bytes(30)],
    ids=lambda data: repr(data[:12]),
)  # fmt: skip
def test_what_is_no_picture(data):
    assert picture_of(data) is None


IN_MESSAGES = {
    "browser": ({"screenshot_data": encoded(png())}, {"screenshot_data": "<1>"}),
    "browser, with its kind": ({"screenshot_data": data_url(png())}, {"screenshot_data": "<1>"}),
    "agent server": (
        [{"type": "image", "image_urls": [data_url(GIF, "gif"), "https://x.example/a.png"]}],
        [{"type": "image", "image_urls": ["<1>", "https://x.example/a.png"]}],
    ),
    "chat": (
        {"type": "image_url", "image_url": {"url": data_url(JPEG, "jpeg"), "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "<1>", "detail": "low"}},
    ),
    "responses": (
        {"type": "input_image", "image_url": data_url(WEBP, "webp")},
        {"type": "input_image", "image_url": "<1>"},
    ),
    "anthropic": (
        {"source": {"type": "base64", "media_type": "image/png", "data": encoded(png())}},
        {"source": {"type": "base64", "media_type": "image/png", "data": "<1>"}},
    ),
    "mcp": (
        {"type": "image", "mimeType": "image/png", "data": encoded(png())},
        {"type": "image", "mimeType": "image/png", "data": "<1>"},
    ),
    "in lines": (
        {"screenshot_data": encoded(png())[:40] + "\n" + encoded(png())[40:]},
        {"screenshot_data": "<1>"},
    ),
    "of another kind than it says": ({"url": data_url(png(), "svg+xml")}, {"url": "<1>"}),
    "with parameters": (
        {"url": "DATA:image/png;charset=utf-8;BASE64," + encoded(png())},
        {"url": "<1>"},
    ),
    "several": (
        {"screenshot": encoded(png()), "more": [{"url": data_url(GIF)}]},
        {"screenshot": "<1>", "more": [{"url": "<2>"}]},
    ),
}


@pytest.mark.parametrize(("value", "replaced"), IN_MESSAGES.values(), ids=list(IN_MESSAGES))
def test_where_pictures_are(value, replaced):
    before = copy.deepcopy(value)
    assert names_for(value) == replaced
    assert value == before


@pytest.mark.parametrize(
    "value",
    [
        # What somebody said, or was given to write, is theirs.
        {"type": "text", "text": data_url(png())},
        {"content": encoded(png())},
        {"file_text": data_url(png())},
        {"url": f"see {data_url(png())}"},
        {"url": encoded(png())},
        {"url": "data:text/html;base64,PHNjcmlwdD4="},
        {"url": data_url(SVG, "svg+xml")},
        {"url": "data:image/svg+xml,<svg/>"},
        {"url": data_url(png())[:-30] + "!"},
        {"screenshot_data": "not base64"},
        {"screenshot_data": "\ud800\u00e9"},
        {"screenshot_data": encoded(b"no picture")},
        {"screenshot_data": None},
        {"screenshot_data": [None, 1, {}]},
        {"media_type": "application/pdf", "data": encoded(png())},
        {"media_type": ["image/png"], "data": encoded(png())},
        {"data": encoded(png())},
        [[1.5, True, None, "a"]],
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_stays_as_it_is(value):
    assert names_for(value) == value


def test_no_depth_and_no_size_is_too_much():
    deep = {"screenshot_data": encoded(png())}
    for _ in range(100_000):
        deep = [deep]
    started = time.monotonic()
    assert names_for(deep)
    names_for({"url": "data:image/png" + ";a" * 500_000})
    names_for({"screenshot_data": "A" * 10_000_000})
    assert time.monotonic() - started < 3
    while isinstance(deep, list):  # or Python takes it apart by recursion
        deep = deep.pop()


@pytest.fixture
def files(tmp_path):
    return PictureFiles(tmp_path, lambda text: text.replace(SECRET, "***"))


def shot(*colours, width=3):
    return {"shots": [{"screenshot_data": encoded(png(width, 2, (c, 0, 0)))} for c in colours]}


def on_disk(folder):
    return sorted(path.name for path in folder.iterdir())


def test_each_picture_is_a_file_once(files, tmp_path):
    record = files.take_out(shot(1, 2, 1))
    names = ["screenshot-1.png", "screenshot-2.png"]
    assert record["pictures"] == names
    assert [one["screenshot_data"] for one in record["shots"]] == [*names, names[0]]
    assert files.take_out(shot(2, 3))["pictures"] == ["screenshot-2.png", "screenshot-3.png"]
    assert files.take_out({"url": data_url(JPEG)})["url"] == "screenshot-4.jpg"
    assert len(on_disk(tmp_path)) == 4
    assert (tmp_path / names[0]).read_bytes() == png(3, 2, (1, 0, 0))
    assert (tmp_path / "screenshot-4.jpg").read_bytes() == JPEG
    assert files.take_out({"text": "x"}) == {"text": "x"}
    assert files.left_out == 0


def test_of_too_many_the_first_and_the_last_ones_stay(files, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "RECORDED_PICTURES", 6)
    for colour in range(20):
        files.take_out(shot(colour))
    numbers = sorted(int(name[11:-4]) for name in on_disk(tmp_path))
    assert numbers == [1, 2, 17, 18, 19, 20]
    assert files.left_out == 14
    # One that was removed comes again: it is there again, by another name.
    assert files.take_out(shot(10))["pictures"] == ["screenshot-21.png"]
    assert (tmp_path / "screenshot-21.png").exists()


def test_all_together_have_a_size(files, tmp_path, monkeypatch):
    size = len(png())
    monkeypatch.setattr(limits, "RECORDED_PICTURES_SIZE", 3 * size + 10)
    for colour in range(10):
        files.take_out(shot(colour))
    assert on_disk(tmp_path) == ["screenshot-1.png", "screenshot-10.png", "screenshot-9.png"]
    large = files.take_out({"screenshot_data": encoded(png(comment=b"x" * 4 * size))})
    assert large == {"screenshot_data": "screenshot-11.png", "pictures": ["screenshot-11.png"]}
    assert "screenshot-11.png" not in on_disk(tmp_path)
    assert len(on_disk(tmp_path)) == 3
    assert files.left_out == 8


def test_a_picture_with_a_secret_written_in_it_is_not_kept(files, tmp_path):
    record = files.take_out({"screenshot_data": encoded(png(comment=SECRET.encode()))})
    assert record["screenshot_data"] == "screenshot-1.png"
    assert on_disk(tmp_path) == []
    assert files.left_out == 1


@pytest.mark.parametrize(
    "name",
    ["../screenshot-1.png", "screenshot-1.svg", "screenshot-0.png", "screenshot-1.png\n", "/etc/x",
     "screenshot-.png", "screenshot-\u0661.png", "a/screenshot-1.png", 5, None,
     ["screenshot-1.png"]],
)  # fmt: skip
def test_names_lead_nowhere_else(name):
    assert not is_name(name)
    assert names_in({"pictures": [name, "screenshot-1.png"]}) == ["screenshot-1.png"]
    assert names_in({"pictures": name}) == (name if isinstance(name, list) else [])


def a_step(*names):
    return Step(kind="tool", title="browser", summary="", pictures=list(names))


def test_steps_say_which_pictures_are_not_there(tmp_path):
    (tmp_path / "screenshot-1.png").write_bytes(png())
    (tmp_path / "screenshot-3.png").mkdir()
    step, again = a_step("screenshot-1.png", "screenshot-2.png"), a_step("screenshot-1.png")
    odd = a_step("screenshot-3.png")
    (found,) = find(tmp_path, [step, again, odd])
    assert (found.name, found.size, found.data) == ("screenshot-1.png", len(png()), "")
    assert step.pictures == again.pictures == ["screenshot-1.png"]
    assert step.facts == [("picture", "screenshot-2.png was left out")]
    assert odd.pictures == []


def a_story(folder, *steps):
    return TestStory(test="x", steps=list(steps), pictures=find(folder, list(steps)))


def test_the_last_pictures_are_in_the_page_as_far_as_there_is_room(tmp_path, monkeypatch):
    for number in range(1, 6):
        (tmp_path / f"screenshot-{number}.png").write_bytes(png(3, 2, (number, 0, 0)))
    names = [f"screenshot-{number}.png" for number in range(1, 6)]
    size = (tmp_path / names[0]).stat().st_size
    monkeypatch.setattr(limits, "PAGE_PICTURES", 3 * size)
    story = a_story(tmp_path, a_step(*names[:4]), a_step(names[4], names[0]))
    embed_pictures(story, tmp_path)
    shown = {picture.name: picture for picture in story.pictures if picture.data}
    assert sorted(shown) == [names[0], names[3], names[4]]
    assert shown[names[3]].data == data_url(png(3, 2, (4, 0, 0)))
    assert (shown[names[3]].width, shown[names[3]].height) == (3, 2)
    assert story.cuts == ["In files beside this page only: 2 of its 5 pictures."]


def test_what_a_browser_could_not_draw_is_not_in_the_page(tmp_path):
    (tmp_path / "screenshot-1.png").write_bytes(png()[:16] + b"\0\0\xff\xff" * 2 + png()[24:])
    (tmp_path / "screenshot-2.png").write_bytes(b"damaged")
    story = a_story(tmp_path, a_step("screenshot-1.png", "screenshot-2.png"))
    embed_pictures(story, tmp_path)
    assert [picture.data for picture in story.pictures] == ["", ""]
    assert story.cuts == ["In files beside this page only: 2 of its 2 pictures."]
