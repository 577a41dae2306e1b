"""Files come into being whole or not at all, and a checkpoint that is not whole is passed over."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spaces.architecture import Architecture, Stage, Stem
from spaces.recipe import Candidate, Recipe
from workers.checkpoints import load_checkpoint, save_checkpoint
from workers.files import JobFiles, new_folder, write_array, write_atomically
from workers.training_state import TrainingState

CANDIDATE = Candidate(
    architecture=Architecture(stem=Stem(width=8), stages=(Stage(depth=1, width=16),)),
    recipe=Recipe(epochs=20, learning_rate=0.125),
)
DAMAGES = 24  # places at which a file is damaged, from its first byte to its last


def some_state(epoch: int) -> TrainingState:
    """A state that is unlike that of any other epoch."""
    generator = torch.Generator().manual_seed(epoch)
    tensors = {
        "network.weight": torch.randn(4, 3, generator=generator),
        "optimizer.0.step": torch.tensor(float(epoch)),
        "random.torch": torch.randint(0, 255, (20,), dtype=torch.uint8, generator=generator),
    }
    random = np.random.default_rng(epoch).bit_generator.state
    return TrainingState(tensors, {"step": 10 * epoch, "rate": 1 / 3, "random": dict(random)})


def save(folder: Path, *, epoch: int, candidate: Candidate = CANDIDATE) -> None:
    save_checkpoint(folder, some_state(epoch), candidate=candidate, epoch=epoch)


def file_of(folder: Path, epoch: int, suffix: str) -> Path:
    """Return a file of an epoch's checkpoint, with however many zeros it is named."""
    (path,) = (each for each in folder.glob(f"epoch-*.{suffix}") if int(each.stem[6:]) == epoch)
    return path


def loaded_epoch(folder: Path) -> int | None:
    """Return the epoch of the checkpoint that is loaded, having compared all that it holds."""
    loaded = load_checkpoint(folder)
    if loaded is None:
        return None
    candidate, state = loaded
    epoch = int(state.numbers["step"]) // 10
    expected = some_state(epoch)
    assert candidate == CANDIDATE and state.numbers == expected.numbers
    assert state.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        assert state.tensors[name].dtype == tensor.dtype
        assert torch.equal(state.tensors[name], tensor)
    return epoch


def truncated(content: bytes, offset: int) -> bytes:
    return content[:offset]


def flipped(content: bytes, offset: int) -> bytes:
    """Change a byte's lowest bit: in JSON a digit becomes another digit."""
    return content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :]


def garbled(content: bytes, offset: int) -> bytes:
    """Change a byte's highest bit: in JSON it is no longer UTF-8."""
    return content[:offset] + bytes([content[offset] ^ 128]) + content[offset + 1 :]


def zeroed(content: bytes, offset: int) -> bytes:
    """Lose what was not flushed when the power went."""
    return content[:offset] + bytes(len(content) - offset)


def test_a_checkpoint_holds_all_of_a_training(tmp_path: Path) -> None:
    save(tmp_path / "1", epoch=3)
    assert loaded_epoch(tmp_path) == 3


def test_tensors_that_are_not_contiguous_come_back_equal(tmp_path: Path) -> None:
    weight = torch.arange(24.0).view(2, 3, 2, 2).contiguous()
    state = TrainingState({"network.weight": weight}, {})
    save_checkpoint(tmp_path / "1", state, candidate=CANDIDATE, epoch=1)
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and torch.equal(loaded[1].tensors["network.weight"], weight)


def test_without_a_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    assert load_checkpoint(tmp_path / "nothing") is None


@pytest.mark.parametrize("damage", [truncated, flipped, garbled, zeroed])
@pytest.mark.parametrize("suffix", ["safetensors", "json"])
def test_a_damaged_checkpoint_is_passed_over(
    tmp_path: Path, suffix: str, damage: Callable[[bytes, int], bytes]
) -> None:
    save(tmp_path / "1", epoch=1)
    save(tmp_path / "1", epoch=2)
    newest = file_of(tmp_path / "1", 2, suffix)
    whole = newest.read_bytes()
    for offset in np.linspace(0, len(whole) - 1, DAMAGES, dtype=int):
        newest.write_bytes(damage(whole, int(offset)))
        assert loaded_epoch(tmp_path) == 1, f"{suffix} damaged at byte {offset}"
    newest.write_bytes(whole)
    assert loaded_epoch(tmp_path) == 2


@pytest.mark.parametrize("word", [b'"learning_rate"', b'"stem"', b'"curve"', b'"sha256"', b"0.125"])
def test_no_part_of_the_json_can_change_unnoticed(tmp_path: Path, word: bytes) -> None:
    for epoch in (1, 2):
        state = some_state(epoch)
        state.numbers["curve"] = []
        save_checkpoint(tmp_path / "1", state, candidate=CANDIDATE, epoch=epoch)
    path = file_of(tmp_path / "1", 2, "json")
    whole = path.read_bytes()
    assert word in whole
    path.write_bytes(whole.replace(word, word.replace(b"e", b"o").replace(b"2", b"3"), 1))
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and loaded[1].numbers["step"] == 10


@pytest.mark.parametrize("suffix", ["safetensors", "json"])
def test_a_checkpoint_with_a_missing_file_is_passed_over(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / "1", epoch=1)
    save(tmp_path / "1", epoch=2)
    file_of(tmp_path / "1", 2, suffix).unlink()
    assert loaded_epoch(tmp_path) == 1


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{}", b'{"tensors": 3}', b"\xff\xfe"])
def test_none_is_whole(tmp_path: Path, content: bytes) -> None:
    for epoch in (1, 2):
        save(tmp_path / "1", epoch=epoch)
        file_of(tmp_path / "1", epoch, "json").write_bytes(content)
    assert load_checkpoint(tmp_path) is None


def test_only_the_newest_two_are_kept(tmp_path: Path) -> None:
    for epoch in range(1, 6):
        save(tmp_path / "1", epoch=epoch)
    kept = [
        file_of(tmp_path / "1", epoch, suffix).name
        for epoch in (4, 5)
        for suffix in ("json", "safetensors")
    ]
    assert sorted(os.listdir(tmp_path / "1")) == kept


def test_the_longest_training_keeps_its_last_checkpoint(tmp_path: Path) -> None:
    """A recipe may have 10,000 epochs: one digit more than 9,999."""
    for epoch in (9_998, 9_999, 10_000):
        save(tmp_path / "1", epoch=epoch)
    assert loaded_epoch(tmp_path) == 10_000


def test_the_newest_epoch_wins_whichever_fence_wrote_it(tmp_path: Path) -> None:
    save(tmp_path / "2", epoch=7)
    save(tmp_path / "10", epoch=6)
    assert loaded_epoch(tmp_path) == 7
    save(tmp_path / "10", epoch=8)
    assert loaded_epoch(tmp_path) == 8


def test_of_equal_epochs_the_later_fence_wins(tmp_path: Path) -> None:
    gentler = CANDIDATE.model_copy(update={"recipe": Recipe(clip_norm=1.0)})
    save(tmp_path / "9", epoch=5, candidate=gentler)
    save(tmp_path / "10", epoch=5)
    assert loaded_epoch(tmp_path) == 5


def test_a_damaged_checkpoint_of_the_last_fence_falls_back_on_another(tmp_path: Path) -> None:
    save(tmp_path / "1", epoch=4)
    save(tmp_path / "2", epoch=5)
    file_of(tmp_path / "2", 5, "safetensors").write_bytes(b"")
    assert loaded_epoch(tmp_path) == 4


# --- files ------------------------------------------------------------------------------------


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    for content in (b"old", b"", b"new"):
        write_atomically(path, content)
        assert path.read_bytes() == content and os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_failed_write_keeps_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_an_array_is_written_whole_and_without_pickles(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_array(tmp_path / "array.npy", array)
    read = np.load(tmp_path / "array.npy", allow_pickle=False)
    assert read.dtype == array.dtype and np.array_equal(read, array)
    with pytest.raises(ValueError):
        write_array(tmp_path / "objects.npy", np.array([{}], dtype=object))
    assert os.listdir(tmp_path) == ["array.npy"]


def fill(path: Path, text: str, *, replace: bool = False) -> None:
    with new_folder(path, replace=replace) as folder:
        assert folder != path and not list(folder.iterdir())
        (folder / "file").write_text(text)


def test_a_new_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "model"
    with new_folder(path) as folder:
        (folder / "file").write_text("content")
        assert not path.exists()
    assert (path / "file").read_text() == "content"
    assert os.listdir(path.parent) == ["model"]
    assert path.stat().st_mode & 0o777 == 0o755


def test_what_counts_is_on_the_disk_before_and_after_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(tmp_path / "file", b"content")
    assert synced[0].endswith(".tmp") and synced[1:] == [str(tmp_path)]
    synced.clear()
    with new_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("content")
    assert synced == [str(folder / "weights"), str(folder), str(tmp_path)]


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_folder_that_fails_leaves_nothing_behind(
    tmp_path: Path, error: type[BaseException], replace: bool
) -> None:
    with pytest.raises(error), new_folder(tmp_path / "model", replace=replace) as folder:
        (folder / "file").write_text("half")
        raise error
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("replace", [False, True])
def test_a_folder_that_fails_leaves_the_old_one(tmp_path: Path, replace: bool) -> None:
    fill(tmp_path / "model", "old")
    with pytest.raises(RuntimeError), new_folder(tmp_path / "model", replace=replace) as folder:
        (folder / "file").write_text("half")
        raise RuntimeError
    assert (tmp_path / "model" / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["model"]


def test_a_folder_is_replaced_only_when_asked(tmp_path: Path) -> None:
    fill(tmp_path / "model", "old")
    with pytest.raises(OSError):
        fill(tmp_path / "model", "new")
    assert (tmp_path / "model" / "file").read_text() == "old"
    fill(tmp_path / "model", "new", replace=True)
    assert (tmp_path / "model" / "file").read_text() == "new"
    assert os.listdir(tmp_path) == ["model"]


def test_paths_are_written_relative_to_the_job(tmp_path: Path) -> None:
    files = JobFiles(tmp_path, "job-1")
    assert files.relative(files.trial(3) / "2") == "trials/3/2"
    assert files.relative(files.finalist(3, 1)) == "finalists/3-1"
    assert files.folder / files.relative(files.model(3)) == tmp_path / "job-1" / "models" / "3"
