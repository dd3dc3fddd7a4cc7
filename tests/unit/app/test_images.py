"""An image from the request to its thumbnails, whatever was sent as one."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from app.services import images, thumbnails, uploads
from app.services.images import Size, fit
from app.tasks.images import process_image
from tests.unit.app.test_bad_input import refused

URL = "/api/process-image"
RED, GREEN = (200, 30, 30), (30, 200, 30)


def picture(size=(400, 200), mode="RGB", left=RED, right=GREEN):
    """Its left half has another colour than its right one."""
    image = Image.new(mode, size, right)
    image.paste(left, (0, 0, size[0] // 2, size[1]))
    return image


def encoded(image, kind="JPEG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def send(client, content, **fields):
    return client.post(URL, data={"file": (io.BytesIO(content), "photo.jpg"), **fields})


def made(client, content, **fields):
    """What the task gave."""
    answer = send(client, content, **fields)
    assert answer.status_code == 202, answer.get_json()
    assert answer.get_json()["message"] == "Image processing started"
    status = client.get(answer.get_json()["status_url"]).get_json()
    assert status["state"] == "SUCCESS", status
    return status["result"]


def downloaded(client, thumbnail):
    with client.get(thumbnail["url"]) as answer:
        assert answer.status_code == 200
        return answer.data


def fetched(client, thumbnail):
    with Image.open(io.BytesIO(downloaded(client, thumbnail))) as image:
        image.load()
        return image


def kept(app):
    folder = app.extensions["settings"].files_dir / "images"
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def is_like(pixel, colour):
    return all(abs(a - b) < 40 for a, b in zip(pixel, colour, strict=True))


def test_thumbnails_are_made_in_the_sizes_that_are_asked_for(eager, eager_app):
    result = made(eager, encoded(picture()), sizes="100x100,50x10")
    image_id = result["image_id"]
    assert result == {
        "status": "completed",
        "image_id": image_id,
        "width": 400,
        "height": 200,
        "thumbnails": [
            {
                "size": size,
                "width": width,
                "height": height,
                "file_path": f"images/{image_id}-{size}.jpg",
                "url": f"/api/images/{image_id}/{size}",
            }
            for size, width, height in (("100x100", 100, 50), ("50x10", 20, 10))
        ],
    }
    small = fetched(eager, result["thumbnails"][0])
    assert (small.format, small.size) == ("JPEG", (100, 50))
    assert is_like(small.getpixel((5, 25)), RED)
    assert is_like(small.getpixel((95, 25)), GREEN)
    # The original is gone.
    assert kept(eager_app) == {
        f"{image_id}{end}" for end in (".json", "-100x100.jpg", "-50x10.jpg")
    }


def test_a_thumbnail_is_answered_as_what_it_is(eager):
    result = made(eager, encoded(picture()))
    assert [each["size"] for each in result["thumbnails"]] == ["128x128", "512x512"]
    with eager.get(result["thumbnails"][0]["url"]) as answer:
        assert answer.content_type == "image/jpeg"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_an_image_is_never_enlarged(eager):
    result = made(eager, encoded(picture()), sizes=["4096x4096", "4096x4096"])
    assert [(each["width"], each["height"]) for each in result["thumbnails"]] == [(400, 200)]
    assert fetched(eager, result["thumbnails"][0]).size == (400, 200)


@given(*[st.integers(1, 5000)] * 2, *[st.integers(1, 4096)] * 2)
def test_a_thumbnail_fits_its_box(width, height, most_width, most_height):
    found = fit((width, height), Size(most_width, most_height))
    assert 1 <= found[0] <= min(width, most_width)
    assert 1 <= found[1] <= min(height, most_height)
    if width <= most_width and height <= most_height:
        assert found == (width, height)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_camera_says(eager, orientation):
    """Whichever way it lies in the file, red is on the left."""
    upright = picture()
    undone = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = upright.transpose(undone[orientation]) if orientation in undone else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    result = made(eager, encoded(image, exif=exif), sizes="100x100")
    assert (result["width"], result["height"]) == (400, 200)
    small = fetched(eager, result["thumbnails"][0])
    assert small.size == (100, 50)
    assert is_like(small.getpixel((5, 25)), RED)
    assert is_like(small.getpixel((95, 25)), GREEN)


SECRET = b"secret-of-the-camera"


def with_metadata(kind):
    exif = Image.Exif()
    exif[0x010F] = SECRET.decode()
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 0x1D: SECRET.decode()})
    options = {"exif": exif, "icc_profile": ImageCms.ImageCmsProfile(_srgb()).tobytes()}
    if kind == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_text("Comment", SECRET.decode())
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", SECRET.decode())
    else:
        options["xmp"] = SECRET
    if kind == "JPEG":
        options["comment"] = SECRET
    return encoded(picture(), kind, **options)


def _srgb():
    return ImageCms.createProfile("sRGB")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_no_metadata_is_left(eager, kind):
    """Neither the place and the camera, nor a comment, XMP or a profile."""
    content = with_metadata(kind)
    assert content.count(SECRET) >= 3
    result = made(eager, content, sizes="100x100")
    data = downloaded(eager, result["thumbnails"][0])
    assert not any(each in data for each in (SECRET, b"Exif", b"ICC", b"iCCP", b"xmp", b"GPS"))
    small = fetched(eager, result["thumbnails"][0])
    assert not small.getexif()
    assert not {"exif", "icc_profile", "xmp", "comment", "Comment"} & small.info.keys()


def profile(**primaries):
    """An ICC profile of an RGB space with these colours, each in XYZ, and a gamma of 2.2."""

    def number(value):
        return struct.pack(">i", round(value * 65536))

    tags = {b"wtpt": (0.9642, 1.0, 0.8249)}
    tags |= {f"{name}XYZ".encode(): xyz for name, xyz in primaries.items()}
    data = {tag: b"XYZ \0\0\0\0" + b"".join(map(number, xyz)) for tag, xyz in tags.items()}
    gamma = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    data |= {f"{name}TRC".encode(): gamma for name in primaries}
    table, body, offset = b"", b"", 128 + 4 + 12 * len(data)
    for tag, content in data.items():
        table += tag + struct.pack(">II", offset + len(body), len(content))
        body += content
    head = b"\0\0\0\0" + struct.pack(">I", 0x02400000) + b"mntrRGB XYZ " + b"\0" * 12 + b"acsp"
    head = head.ljust(64, b"\0") + b"".join(map(number, tags[b"wtpt"]))
    whole = head.ljust(124, b"\0") + struct.pack(">I", len(data)) + table + body
    return struct.pack(">I", len(whole) + 4) + whole


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGB"), ("PNG", "RGBA"), ("JPEG", "RGB")])
def test_colours_become_those_of_srgb(eager, kind, mode):
    """By a profile in which red and green have changed places."""
    red, green, blue = (0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)
    swapped = profile(r=green, g=red, b=blue)
    image = Image.new("RGB", (50, 50), RED).convert(mode)
    content = encoded(image, kind, icc_profile=swapped)
    small = fetched(eager, made(eager, content, sizes="50x50")["thumbnails"][0])
    assert small.mode == ("RGBA" if mode == "RGBA" else "RGB")
    assert is_like(small.getpixel((9, 9))[:3], (30, 200, 30))


@pytest.mark.parametrize("space", ["LAB", "XYZ", None])
def test_a_profile_that_does_not_fit_is_left_out(eager, space):
    """One of another colour space, or one that is damaged."""
    made_up = ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes() if space else b"no"
    content = encoded(Image.new("RGB", (50, 50), (10, 200, 10)), "PNG", icc_profile=made_up)
    small = fetched(eager, made(eager, content, sizes="50x50")["thumbnails"][0])
    assert small.getpixel((9, 9)) == (10, 200, 10)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_transparency_is_kept(eager, kind):
    image = picture(mode="RGBA", left=(0, 0, 0, 0), right=(*GREEN, 255))
    result = made(eager, encoded(image, kind), sizes="100x100")
    small = fetched(eager, result["thumbnails"][0])
    assert small.format == {"GIF": "PNG"}.get(kind, kind)
    assert small.convert("RGBA").getpixel((5, 25))[3] < 20
    right = small.convert("RGBA").getpixel((95, 25))
    assert right[3] > 235
    assert is_like(right[:3], GREEN)


def test_of_a_moving_image_the_first_frame_is_taken(eager):
    frames = [Image.new("RGB", (40, 40), colour) for colour in (RED, GREEN)]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    small = fetched(eager, made(eager, content, sizes="20x20")["thumbnails"][0])
    assert is_like(small.convert("RGB").getpixel((9, 9)), RED)


@pytest.mark.parametrize(
    ("mode", "colour", "kind", "seen"),
    [
        ("L", 90, "PNG", 90),
        ("1", 1, "PNG", 255),
        ("I;16", 90 * 256, "PNG", 90),
        ("P", 0, "PNG", (0, 0, 0)),
        ("LA", (90, 255), "PNG", (90, 90, 90, 255)),
        ("CMYK", (0, 255, 255, 0), "JPEG", (255, 0, 0)),
    ],
)
def test_each_kind_of_pixels_is_taken(eager, mode, colour, kind, seen):
    image = Image.new(mode, (64, 64), colour)
    small = fetched(eager, made(eager, encoded(image, kind), sizes="32x32")["thumbnails"][0])
    found = small.getpixel((9, 9))
    assert found == seen or max(abs(a - b) for a, b in zip(found, seen, strict=True)) < 4


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb(width=30_000, height=30_000):
    """A PNG that says how large it is, and has hardly a byte."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    )


def test_a_decompression_bomb_is_refused_before_it_is_kept(eager, eager_app):
    """By its header alone; the next request's image is taken."""
    for content in (bomb(), bomb(2**31 - 1, 1), bomb(50_001, 1000)):
        document = refused(send(eager, content), 413)
        assert [each["field"] for each in document["errors"]] == ["file"]
        assert "pixels" in document["detail"]
    assert kept(eager_app) == set()
    made(eager, encoded(picture()))


def run(app, content, sizes=("50x50",)):
    """The task alone, as if the request had seen nothing wrong."""
    folder = app.extensions["settings"].files_dir / "images"
    path = uploads.save(io.BytesIO(content), folder)
    return process_image.apply([path, list(sizes)]), path


def test_a_decompression_bomb_is_refused_by_the_task_too(eager_app):
    ended, _ = run(eager_app, bomb())
    assert "30000 x 30000 pixels" in str(ended.result)
    assert ended.result.details == {"retryable": False}
    assert kept(eager_app) == set()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_truncated_file_is_refused(eager_app, kind):
    """It leaves nothing behind."""
    noise = Image.effect_noise((300, 300), 90).convert("RGB")
    content = encoded(noise, kind)
    ended, _ = run(eager_app, content[: len(content) // 2])
    assert str(ended.result) == "Is no whole image of JPEG, PNG, WEBP, GIF."
    assert kept(eager_app) == set()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"name,age\nAda,36\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
        b"RIFF\x10\0\0\0WEBPVP8 ",
        encoded(picture(), "BMP"),
        encoded(picture(), "TIFF"),
        encoded(picture(), "PPM"),
    ],
    ids=lambda content: repr(content[:8]),
)
def test_what_only_pretends_to_be_an_image_is_refused(eager, eager_app, content):
    """A file is what its content says, not its name; formats that aren't named aren't tried."""
    document = refused(send(eager, content), 415)
    assert [each["field"] for each in document["errors"]] == ["file"]
    assert kept(eager_app) == set()


def test_a_second_run_leaves_one_set(eager, eager_app):
    """Also of an upload sent again, and of a message that comes again after its end."""
    content = encoded(picture())
    first = made(eager, content, sizes="50x50")
    files = kept(eager_app)
    assert made(eager, content, sizes="50x50") == first
    ended, path = run(eager_app, content)
    assert ended.get() == first
    assert process_image.apply([path, ["50x50"]]).get() == first
    assert kept(eager_app) == files
    assert str(process_image.apply([path, ["60x60"]]).result) == "Names no file there."


def test_a_run_that_was_killed_is_made_whole(eager_app, monkeypatch):
    """Between two thumbnails; the upload is still there for the next try."""

    class Killed(BaseException):
        pass

    def killed(**_state):
        raise Killed

    folder = eager_app.extensions["settings"].files_dir / "images"
    path = uploads.save(io.BytesIO(encoded(picture())), folder)
    with monkeypatch.context() as patch:
        patch.setattr(process_image, "update_state", killed)
        with pytest.raises(Killed):
            process_image.run(path, ["50x50", "60x60"])
    assert path in kept(eager_app)
    result = process_image.apply([path, ["50x50", "60x60"]]).get()
    assert len(result["thumbnails"]) == 2
    assert len(kept(eager_app)) == 3


def test_progress_tells_each_thumbnail(eager_app, monkeypatch):
    shown = []
    monkeypatch.setattr(process_image, "update_state", lambda **kw: shown.append(kw["meta"]))
    run(eager_app, encoded(picture()), ["10x10", "20x20", "30x30"])
    assert shown == [
        {"current": n, "total": 3, "percent": percent}
        for n, percent in ((1, 33), (2, 66), (3, 100))
    ]


@pytest.mark.parametrize(
    "sizes",
    ["", "x", "0x10", "10x4097", "10x-1", "1e2x10", "10X10", "10x10x10", "²x10", "9" * 5000],
)
def test_a_wrong_size_is_named(eager, eager_app, sizes):
    document = refused(send(eager, encoded(picture()), sizes=f"10x10,{sizes}"), 400)
    assert [each["field"] for each in document["errors"]] == ["sizes.1"]
    assert kept(eager_app) == set()


def test_too_many_sizes_are_refused(eager):
    sizes = ",".join(f"{n}x{n}" for n in range(1, 10))
    document = refused(send(eager, encoded(picture()), sizes=sizes), 400)
    assert [each["field"] for each in document["errors"]] == ["sizes"]


def test_another_form_is_refused_by_name(eager):
    extra = refused(send(eager, encoded(picture()), quality="1"), 400)
    assert [each["field"] for each in extra["errors"]] == ["quality"]
    none = refused(eager.post(URL, data={"sizes": "1x1"}, content_type="multipart/form-data"), 400)
    assert [each["field"] for each in none["errors"]] == ["file"]


def test_json_is_no_form(eager):
    refused(eager.post(URL, json={"sizes": ["1x1"]}), 415)


def test_a_file_over_its_limit_is_refused(make_app):
    client = make_app(IMAGE_MAX_BYTES="100").test_client()
    for size in (101, 200_000):
        refused(send(client, b"a" * size), 413)


def test_nothing_is_published_of_a_refused_file(make_app, monkeypatch):
    published = []
    monkeypatch.setattr("app.registry.publish", published.append)
    client = make_app().test_client()
    for content in (bomb(), b"", encoded(picture())[:10]):
        assert send(client, content).status_code in {413, 415}
    assert published == []


@pytest.mark.parametrize(
    "path",
    ["none/10x10", f"{'a' * 64}/10x10", f"{'a' * 64}/10x0", "..%2F..%2Fapp/10x10", "%00/1x1"],
)
def test_an_unknown_thumbnail_is_not_found(client, path):
    refused(client.get(f"/api/images/{path}"), 404)


SEEDS = [encoded(picture((9, 7)), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF")]


@st.composite
def damaged(draw):
    """A real file with some bytes changed, and perhaps an end cut off."""
    content = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 8))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(8, len(content)))])


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=damaged() | st.binary(max_size=200))
@example(bomb(0, 0))
def test_no_bytes_make_the_service_fail(eager, content):
    """They are refused at once, or by the task in words."""
    answer = send(eager, content, sizes="5x5")
    assert answer.status_code in {202, 413, 415}
    if answer.status_code == 202:
        status = eager.get(answer.get_json()["status_url"]).get_json()
        assert status["state"] == "SUCCESS" or status["retryable"] is False, status


def test_a_size_is_written_in_one_way():
    assert str(images.size("128x4096")) == "128x4096"
    assert thumbnails.known("..", None) is None
