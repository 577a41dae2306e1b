"""What a worker writes into its log can be read by programs, whatever happens."""

import json
import logging

import pytest

from workers.logs import JsonLines, begin_log, facts, log, words_of


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    begin_log("host/1")
    log.info("began", extra=facts(job="digits-1", step="trial/3"))
    log.warning("100 % of the disk\nis full")
    logging.getLogger("a.library").info("nobody asks")
    try:
        raise ZeroDivisionError("by nothing")
    except ZeroDivisionError:
        log.exception("an error")
    logging.captureWarnings(False)
    root.handlers[:] = before
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_an_object_with_time_level_and_facts(lines: list[dict[str, object]]) -> None:
    assert [line["level"] for line in lines] == ["info", "warning", "error"]
    began, full, error = lines
    assert (began["worker"], began["job"], began["step"]) == ("host/1", "digits-1", "trial/3")
    assert str(began["time"]).endswith("+00:00")
    assert full["message"] == "100 % of the disk\nis full"
    assert str(error["traceback"]).endswith("ZeroDivisionError: by nothing")


def test_a_pool_tells_what_the_last_line_says() -> None:
    record = log.makeRecord("name", logging.ERROR, "file", 1, "no data here", (), None)
    assert words_of(JsonLines("host/1").format(record)) == "no data here"
    failed = json.dumps({"message": "an error", "traceback": "Traceback:\nOSError: no room"})
    assert words_of(failed) == "OSError: no room"
    for plain in ("terminate called without an active exception", "12", "[1]", "{}"):
        assert words_of(plain) == plain
