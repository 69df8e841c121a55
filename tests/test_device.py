"""Devices: wishes are granted or refused in words; what is told is there."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest
import torch

from hoyomusic import device
from hoyomusic.errors import UsageError

CPU, CARD = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def cards(monkeypatch):
    """A machine with as many CUDA cards as asked for, of the given compute capability."""

    def pretend(count: int, capability: tuple[int, int] = (9, 0)) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda where: capability)

    return pretend


@pytest.fixture
def processor(monkeypatch):
    """A processor with the given capabilities."""
    return lambda **capabilities: monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)


def test_auto_takes_a_card_where_there_is_one(cards):
    cards(0)
    assert device.choose_device() == CPU
    cards(2)
    assert device.choose_device() == torch.device("cuda")
    assert device.choose_device("cpu") == CPU
    assert device.choose_device("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ("cuda:2", "this machine has 2 CUDA cards, no cuda:2; choose auto or cpu"),
        ("gpu", "there is no device 'gpu'; choose auto, cpu, cuda or cuda:N"),
        ("cuda:x", "there is no device 'cuda:x'; choose auto, cpu, cuda or cuda:N"),
        ("cpu:1", "there is no device 'cpu:1'; choose auto, cpu, cuda or cuda:N"),
    ],
)
def test_devices_that_are_not_there_are_refused(cards, wish, message):
    cards(2)
    with pytest.raises(UsageError) as caught:
        device.choose_device(wish)
    assert str(caught.value) == message


def test_precision_is_bf16_where_it_gains(cards, processor):
    processor(avx512_bf16=True)
    cards(1)
    assert device.choose_dtype("auto", CPU, rows=32) == torch.bfloat16
    assert device.choose_dtype("auto", CPU, rows=31) == torch.float32
    assert device.choose_dtype("bf16", CPU, rows=1) == torch.bfloat16
    assert device.choose_dtype("fp32", CPU, rows=32) == torch.float32
    assert device.choose_dtype("auto", CARD, rows=1) == torch.bfloat16
    processor(avx2=True, avx512_bf16=False)
    cards(1, (7, 5))
    assert device.choose_dtype("auto", CPU, rows=32) == torch.float32
    assert device.choose_dtype("auto", CARD, rows=32) == torch.float32
    with pytest.raises(UsageError, match="cuda:0 has no bfloat16 arithmetic; choose precision auto or fp32"):
        device.choose_dtype("bf16", CARD, rows=32)
    with pytest.raises(UsageError, match="there is no precision 'fp16'; choose auto, fp32 or bf16"):
        device.choose_dtype("fp16", CPU, rows=32)


def test_the_allocator_is_tuned_on_glibc_only(monkeypatch):
    program = "from hoyomusic.device import tune_allocator; print(tune_allocator())"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.strip() == str(platform.libc_ver()[0] == "glibc")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not device.tune_allocator()


def test_the_description_is_plain_and_true():
    told = json.loads(json.dumps(device.describe()))
    assert told["python"] == platform.python_version()
    assert told["torch"] == torch.__version__ and told["threads"] == torch.get_num_threads()
    assert told["cores"] >= 1 and isinstance(told["bf16"], bool)
    assert len(told["cards"]) == (torch.cuda.device_count() if torch.cuda.is_available() else 0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the exact figure is Linux's")
def test_memory_used_grows_with_what_is_held():
    before = device.memory_used()["process"]
    held = torch.ones(128 * 2**20)
    grown = device.memory_used()["process"] - before
    # What the process had free is used first, so that it grows by a little less than what is held.
    assert 0.5 * held.numel() * 4 < grown < 1.2 * held.numel() * 4
    assert "cuda" not in device.memory_used() or torch.cuda.is_initialized()


def test_importing_it_loads_no_torch():
    program = "import sys, hoyomusic.device as d; d.memory_used(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True)
