"""The benchmark itself: that it runs, that it sees what it claims to see, and that its sums are right."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from doubles import Doorman
from servers import imap, listening, pop3

BENCH = Path(__file__).parents[1] / "bench"
PLAN = {"tls": False, "connections": 2, "repeat": False, "seconds": None, "hold": False}


def load(name):
    """One file of bench/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def generate(**plan):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(BENCH / "generator.py")), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(process.communicate(json.dumps(PLAN | plan).encode() + b"\n"), 20)
    assert process.returncode == 0
    return json.loads(said)


@pytest.mark.slow
async def test_verdicts_other_than_expected_are_surprises():
    credentials = [
        ["alice@example.test", "secret", "in"],
        ["alice@example.test", "wrong", "refused"],
        ["alice@example.test", None, "refused"],
        ["alice@example.test", "wrong", "in"],
        ["alice@example.test", "secret", "refused"],
    ]
    async with listening(imap(clear=True), Doorman(), tls="off") as running:
        figures = await generate(protocol="imap", port=running.port, credentials=credentials)
    assert (figures["logins"], figures["surprises"], figures["errors"]) == (5, 2, 0)
    assert {quote.partition(":")[0] for quote in figures["quotes"]} == {"in expected", "refused expected"}


@pytest.mark.slow
async def test_one_of_several_verdicts_may_be_expected():
    credentials = [["alice@example.test", "wrong", "deferred|refused"], ["alice@example.test", "wrong", "deferred|in"]]
    async with listening(imap(clear=True), Doorman(), tls="off") as running:
        figures = await generate(protocol="imap", port=running.port, credentials=credentials)
    assert (figures["logins"], figures["surprises"], figures["errors"]) == (2, 1, 0)
    assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"]


@pytest.mark.slow
async def test_a_connection_that_ends_in_the_wrong_place_is_an_error():
    async def hang_up(reader, writer):
        writer.write(b"* OK ready\r\n")
        await reader.readline()
        writer.write(b"a OK in\r\n")
        await reader.readline()
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        credentials = [["alice@example.test", "secret", "in"]]
        figures = await generate(protocol="imap", port=server.sockets[0].getsockname()[1], credentials=credentials)
    assert (figures["logins"], figures["surprises"], figures["errors"]) == (1, 0, 1)


@pytest.mark.slow
async def test_logins_over_tls_are_repeated_until_the_time_is_over():
    async with listening(pop3(), Doorman([]), tls="implicit") as running:
        credentials = [["alice@example.test", "wrong", "refused"]]
        plan = {"protocol": "pop3", "port": running.port, "tls": True, "repeat": True, "seconds": 0.3}
        figures = await generate(**plan, credentials=credentials)
    assert figures["logins"] > 1
    assert (figures["surprises"], figures["errors"]) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["imap-plain", "auth-16"])
def test_a_case_runs_on_a_site_of_its_own(tmp_path, case):
    report = tmp_path / "report.json"
    options = ["--alone", "--seconds", "0.3", "--rounds", "1", "--accounts", "2", "--connections", "4", "--json"]
    done = subprocess.run(
        [sys.executable, str(BENCH / "run.py"), case, *options, str(report)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(report.read_text())["rows"]
    assert (row["case"], row["who"], row["surprises"], row["errors"]) == (case, "mailauth", 0, 0)
    assert row["logins"] > 0
    assert row["cpu_us"] > 0
    assert "Dovecot: left out" in done.stdout


def test_a_ratio_pairs_what_was_measured_side_by_side():
    book = load("book")
    rounds = [(100.0, 100.0), (900.0, 300.0), (90.0, 100.0)]  # the machine was slow in the second
    rows = []
    for ours, theirs in rounds:
        rows += [book.Row("imap-plain", book.OURS, ours, 1), book.Row("imap-plain", book.NOLOGIN, theirs, 1)]
    filled = book.Book(rows)
    assert filled.ratio("imap-plain", book.NOLOGIN) == 1.0
    assert filled.ratio("first-login", book.NOLOGIN) is None
    (goal,) = filled.goals()
    assert goal.endswith("1.00 x  reached")
    rows[0] = book.Row("imap-plain", book.OURS, 101.0, 1)
    (goal,) = filled.goals()
    assert goal.endswith("NOT REACHED")


@pytest.mark.slow
def test_the_cases_of_overload_run_when_they_are_named(tmp_path):
    report = tmp_path / "report.json"
    options = ["--alone", "--accounts", "2", "--crowd", "20", "--json", str(report)]
    done = subprocess.run(
        [sys.executable, str(BENCH / "run.py"), "idle", "storm", *options],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    bounds = json.loads(report.read_text())["bounds"]
    assert [bound["case"] for bound in bounds] == ["idle"] * 4 + ["storm"] * 2
    assert all(bound["figure"] > 0 for bound in bounds)
    assert "20 idle TLS connections before login" in done.stdout
    assert "10 IMAP sessions in IDLE" in done.stdout


@pytest.mark.slow
def test_the_cases_of_passing_run_on_a_server_behind_us(tmp_path):
    options = ["--alone", "--accounts", "2", "--seconds", "0.02", "--rounds", "1", "--crowd", "20"]
    done = subprocess.run(
        [sys.executable, str(BENCH / "run.py"), "passing", "passed-idle", *options],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for words in ("passed down: mailauth ", "passed up: mailauth ", "10 sessions passed through", "HAProxy: left out"):
        assert words in done.stdout


def test_a_bound_is_reached_or_it_is_not():
    book = load("book")
    filled = book.Book(bounds=[book.Bound("storm", "p95", figure, "ms", 1000.0) for figure in (1000.0, 1000.1)])
    assert [line.rpartition("  ")[2] for line in filled.goals()] == ["reached", "NOT REACHED"]


def test_what_the_probe_has_told_is_read_but_for_half_a_line(tmp_path):
    lag = load("lag")
    file = tmp_path / "probe"
    assert lag.told(file) == []
    file.write_text("1.0 5.5 0.5 30\n2.0 7.5 1.5 31\n3.0 0.5 0.5 3")
    assert [second.descriptors for second in lag.told(file)] == [30, 31]
    assert lag.told(file, since=1.5) == [lag.Second(2.0, 7.5, 1.5, 31)]
    assert lag.told(file, until=1.5) == [lag.Second(1.0, 5.5, 0.5, 30)]


async def test_the_probe_sees_who_holds_the_loop(tmp_path, monkeypatch):
    lag = load("lag")
    monkeypatch.setattr(lag, "TELL_S", 0.01)
    probe = lag.Probe(tmp_path / "probe")
    await asyncio.sleep(0.05)
    ends = time.thread_time() + 0.1
    while time.thread_time() < ends:
        pass
    await asyncio.sleep(0.02)
    probe.stop()
    assert max(second.held_ms for second in lag.told(tmp_path / "probe")) >= 95


@pytest.mark.parametrize(
    ("used", "seconds"), [("0:00.05", 0.05), ("12:34", 754), ("01:02:03", 3723), ("2-00:00:01", 172801)]
)
def test_times_of_ps_are_read(used, seconds):
    assert load("processes").seconds(used) == pytest.approx(seconds)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ps") is None, reason="no ps")
def test_the_cpu_of_children_counts(tmp_path):
    processes = load("processes")
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    parent = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {burn!r}]); time.sleep(60)"
    with processes.Server([sys.executable, "-c", parent], [], tmp_path / "output") as server:
        give_up_at = time.monotonic() + 20
        while server.cpu_s() < 0.3:
            assert time.monotonic() < give_up_at
        assert server.resident_kib() > 1024
        assert processes._by_ps()[server._process.pid][0] == os.getpid()
    assert server._process.returncode is not None


def test_a_server_that_does_not_start_is_told_with_its_last_words(tmp_path):
    processes = load("processes")
    command = [sys.executable, "-c", "raise SystemExit('no such luck')"]
    with pytest.raises(processes.DidNotStart, match="no such luck"):
        processes.Server(command, processes.free_ports(1), tmp_path / "output")
