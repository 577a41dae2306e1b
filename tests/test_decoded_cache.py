"""Images are decoded once, whole or not at all, and training reads them where they lie."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import workers.decode_pool
import workers.selected
from athanor.places import Places
from athanor.searching import SearchOptions, run_search
from search.job_spec import JobSpec
from search.sources import ImageOptions
from spaces.errors import DataError
from spaces.recipe import Recipe
from tests.pictures import picture, write, write_classes
from tests.refusals import one_line
from workers.batches import Batches
from workers.data import ImageData, load_data
from workers.image_data import fingerprint
from workers.pixels import as_tensor
from workers.selected import Selected, chosen


def load(root: Path, cache: Path, *, verify: bool = False, **options: Any) -> ImageData:
    return load_data(str(root), ImageOptions(**options), cache=cache, verify=verify)


def pixels_of(data: ImageData) -> str:
    return data.train_fingerprint + fingerprint(data.test_images, data.test_labels)


def entries(cache: Path) -> list[Path]:
    return [path for path in (cache / "decoded").iterdir() if not path.name.endswith(".lock")]


def test_a_test_set_is_the_same_in_another_size_and_place(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "d")
    one = load(root, tmp_path / "cache")
    other = load(Path(shutil.copytree(root, tmp_path / "e")), tmp_path / "cache", image_size=10)
    assert other.image_shape != one.image_shape and other.test_rows == one.test_rows


def test_images_are_decoded_once_until_a_file_changes(tmp_path: Path) -> None:
    root, cache = write_classes(tmp_path / "d"), tmp_path / "cache"
    first = load(root, cache)
    shutil.copytree(root, tmp_path / "aside")
    for path in root.rglob("*.png"):  # so that whoever decodes again fails
        state = path.stat()
        path.write_bytes(b"\0" * state.st_size)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    again = load(root, cache)
    assert again.train_fingerprint == first.train_fingerprint and len(entries(cache)) == 1
    with pytest.raises(DataError, match="at least half of the images"):
        load(root, cache, image_size=10)
    write(root / "cat" / "00.png", picture(7, 12, 12, 3))
    with pytest.raises(DataError, match="at least half of the images"):
        load(root, cache)
    assert len(entries(cache)) == 1


@pytest.mark.parametrize("column", ["split", "group", "time", "fold"])
def test_a_column_that_is_edited_makes_a_new_entry(column: str, tmp_path: Path) -> None:
    root, cache = write_classes(tmp_path / "d"), tmp_path / "cache"
    names = [f"{name}/{row:02d}.png" for name in ("cat", "dog") for row in range(10)]
    parts = ["train", "test"] if column == "split" else ["0", "1"]
    seen = set()
    for values in (parts, parts[::-1], None):
        lines = [f"path,label{',' + column if values else ''}"]
        for row, name in enumerate(names):
            lines.append(f"{name},{name[:3]}{',' + values[row % 2] if values else ''}")
        (root / "labels.csv").write_text("\n".join(lines) + "\n")
        data = load(root, cache)
        assert data.decoded is not None
        seen.add(data.decoded.folder)
    assert len(seen) == len(entries(cache)) == 3


def test_damage_is_found_and_mended(tmp_path: Path) -> None:
    root, cache = write_classes(tmp_path / "d"), tmp_path / "cache"
    good = load(root, cache)
    known = pixels_of(good)
    (entry,) = entries(cache)
    path = entry / "images.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    mended = load(root, cache)
    assert pixels_of(mended) == known
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    state = path.stat()
    path.write_bytes(bytes(content))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # as a disk that forgets does
    mended = load(root, cache, verify=True)
    assert pixels_of(mended) == known
    (entry / "index.json").write_text(json.dumps({"format": 1}))
    mended = load(root, cache)
    assert pixels_of(mended) == known


def test_processes_that_begin_at_once_decode_once(tmp_path: Path) -> None:
    root, cache = write_classes(tmp_path / "d"), tmp_path / "cache"
    program = (
        "import sys; from pathlib import Path; from workers.data import load_data;"
        "print(load_data(sys.argv[1], cache=Path(sys.argv[2]), progress=print).train_fingerprint)"
    )
    command = [sys.executable, "-c", program, str(root), str(cache)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0].split()[-1] for process in both]
    assert said[0] == said[1] and len(entries(cache)) == 1


def test_who_is_stopped_leaves_nothing_and_who_is_killed_is_cleared_away(tmp_path: Path) -> None:
    root, cache = write_classes(tmp_path / "d", rows=200), tmp_path / "cache"
    program = (
        "import os, signal, sys; from pathlib import Path; import workers.decoded as d;"
        "d.ordered = lambda *_: os.kill(os.getpid(), int(sys.argv[3]));"
        "from workers.data import load_data; load_data(sys.argv[1], cache=Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", program, str(root), str(cache)]
    stopped = subprocess.run([*command, str(int(signal.SIGINT))], stderr=subprocess.DEVNULL)
    assert stopped.returncode == -signal.SIGINT and not entries(cache)
    subprocess.run([*command, str(int(signal.SIGKILL))])
    assert entries(cache)  # half of a folder, under another name
    assert len(load(root, cache).train_labels) == 280
    assert len(entries(cache)) == 1 and not entries(cache)[0].name.startswith(".")


def test_several_processes_decode_as_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_classes(tmp_path / "d")
    (root / "cat" / "00.png").write_bytes(b"broken")
    alone = load(root, tmp_path / "one")
    monkeypatch.setattr(workers.decode_pool, "AT_ONCE", 4)
    several = load(root, tmp_path / "two")
    assert several.train_fingerprint == alone.train_fingerprint
    assert several.decoded is not None and alone.decoded is not None
    assert several.decoded.report == alone.decoded.report
    assert several.decoded.report["unreadable"] == {"format": 1}


def change_decoders(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes that decode run some code at their start."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    checkout = str(Path(workers.decode_pool.__file__).parent.parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), checkout]))


def test_who_has_looked_at_sizes_decodes_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To start a process that reads torchvision's data sets takes seconds."""
    started = tmp_path / "started"
    code = f"open({str(started)!r}, 'a').write('one more\\n')"
    change_decoders(tmp_path / "startup", code, monkeypatch)
    monkeypatch.setattr(workers.decode_pool, "AT_ONCE", 10)
    monkeypatch.setattr(workers.decode_pool, "usable_cores", lambda: 2)
    assert len(load(write_classes(tmp_path / "d"), tmp_path / "cache").train_labels)
    assert started.read_text().count("one more") == 2  # each core's


@pytest.mark.parametrize("death", ["", "os.write(1, b'{\"failures'); "])
def test_an_image_that_kills_its_process_is_left_out_alone(
    death: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few there are, and even if half of an answer was written."""
    root = write_classes(tmp_path / "d")
    code = (
        "import os, workers.decoding as d\n"
        "plain = d.decode\n"
        "def decode(source, *more):\n"
        "    if str(source).endswith('cat/03.png'):\n"
        f"        {death}os._exit(-11)\n"
        "    return plain(source, *more)\n"
        "d.decode = decode\n"
    )
    change_decoders(tmp_path / "startup", code, monkeypatch)
    data = load(root, tmp_path / "cache")
    assert data.decoded is not None and len(data.decoded.rows) == 19
    (example,) = data.decoded.report["unreadable_examples"]
    assert example == ["cat/03.png", "broken", "the decoder crashed"]


def test_processes_that_do_not_start_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_decoders(tmp_path / "startup", "import os; os._exit(1)", monkeypatch)
    with pytest.raises(DataError) as refusal:
        load(write_classes(tmp_path / "d"), tmp_path / "cache")
    assert "as the processes failed: they end at their start" in one_line(refusal)


def test_a_disk_that_is_too_small_is_refused_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_classes(tmp_path / "d")
    monkeypatch.setattr("workers.decoding_run.SPARE_BYTES", 2**60)
    with pytest.raises(DataError) as refusal:
        load(root, tmp_path / "cache")
    assert "GiB are free; ATHANOR_CACHE" in one_line(refusal)
    assert not entries(tmp_path / "cache")


def test_decoding_that_takes_the_budget_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, places = write_classes(tmp_path / "d"), Places.of(f"{tmp_path}/a.db", tmp_path / "a")
    spec = JobSpec.parse({"data": str(root), "budget": 100})
    options = SearchOptions(
        replace(places, cache=tmp_path / "cache"), None, overwrite=False, as_json=True, quiet=True
    )
    monkeypatch.setattr("athanor.searching.seconds_since_start", lambda: 85.0)
    for said in (r"\(\d+ of 20 so far\) must", "decoding and checking images must"):
        with pytest.raises(DataError) as refusal:
            run_search(spec, options)
        line = one_line(refusal)
        assert re.search(said, line) and "leave 20 s of a budget of 100 s, but 8" in line
        assert not (tmp_path / "a.db").exists()
        load(root, tmp_path / "cache")  # as `athanor data check` does


# --- training --------------------------------------------------------------------------------


@pytest.mark.parametrize("augmentation", ["none", "flip_shift"])
def test_rows_that_are_read_when_needed_give_the_same_batches(augmentation: Any) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (200, 9, 11, 3), dtype=np.uint8)
    rows = random.permutation(200)[:130]
    labels = np.arange(130) % 5
    recipe = Recipe(batch_size=32, augmentation=augmentation)
    there, read = (
        Batches(each, labels, recipe=recipe, seed=3, device=torch.device("cpu"))
        for each in (images[rows], Selected(images, rows))
    )
    assert there.normalisation == read.normalisation
    for _ in range(2):
        for one, other in zip(there.one_pass(), read.one_pass(), strict=True):
            assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


def test_mapped_images_are_read_only_and_become_tensors_without_a_warning(tmp_path: Path) -> None:
    data = load(write_classes(tmp_path / "d"), tmp_path / "cache")
    assert not data.train_images.flags.writeable
    with warnings.catch_warnings(action="error"):
        copied = as_tensor(data.train_images)
    assert np.array_equal(copied.numpy(), data.train_images)
    ours = data.train_images.copy()
    assert as_tensor(ours).data_ptr() == ours.ctypes.data


def test_only_large_selections_are_left_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    images, rows = np.zeros((10, 4, 4, 1), dtype=np.uint8), np.array([3, 1])
    assert isinstance(chosen(images, rows), np.ndarray)
    monkeypatch.setattr(workers.selected, "STREAMED_FROM", 32)
    left = chosen(images, rows)
    assert isinstance(left, Selected) and left.shape == (2, 4, 4, 1) and len(left) == 2
    assert left[:1].flags.owndata
