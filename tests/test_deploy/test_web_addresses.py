"""The addresses of the live page that are printed can be opened."""

from __future__ import annotations

import re
import socket
import urllib.request

import pytest

from etram_mmdet.deploy.live import addresses
from etram_mmdet.deploy.live.run import LiveRun, LiveSettings
from etram_mmdet.deploy.live.web import WebPage
from etram_mmdet.utils.errors import InputError
from tests.helpers.live import HW, Clock, Packets, SlowDetector, packet


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def page_on(host: str) -> WebPage:
    return WebPage(0, HW, SlowDetector(Clock(), 0), dict, host)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:"),
        ("localhost", "http://localhost:"),
        ("0.0.0.0", "http://127.0.0.1:"),
        pytest.param("::1", "http://[::1]:", marks=IPV6),
        pytest.param("::", "http://[::1]:", marks=IPV6),
    ],
)
def test_every_address_of_the_page_can_be_opened(host, url):
    page = page_on(host)
    assert page.url.startswith(url)
    assert bool(page.network_urls) == bool(
        addresses.is_any(host) and addresses.network_addresses(host == "::")
    )
    for each in [page.url, *page.network_urls]:
        assert b"<canvas" in urllib.request.urlopen(each, timeout=10).read()
    page.close()


def test_a_run_prints_them(capsys):
    settings = LiveSettings(web_port=0, web_host="0.0.0.0")
    LiveRun(SlowDetector(Clock(), 0), Packets([packet(1)]), settings)()
    told = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"page: http://127\.0\.0\.1:\d+/", told[0])
    assert told[1].startswith("page for other machines: ") and "0.0.0.0" not in told[1]
    assert len(re.findall(r"http://[^ ]+:\d+/", told[1])) == len(addresses.network_addresses(False))
    LiveRun(SlowDetector(Clock(), 0), Packets([packet(1)]), LiveSettings(web_port=0))()
    assert "other machines" not in capsys.readouterr().err


def test_a_machine_without_a_network_says_so(capsys, monkeypatch):
    monkeypatch.setattr("etram_mmdet.deploy.live.web.network_addresses", lambda with_ipv6: [])
    settings = LiveSettings(web_port=0, web_host="0.0.0.0")
    LiveRun(SlowDetector(Clock(), 0), Packets([packet(1)]), settings)()
    assert "page for other machines: none, this machine is in no net" in capsys.readouterr().err


def test_only_addresses_that_others_reach_are_listed(tmp_path, monkeypatch):
    lines = (
        "00000000000000000000000000000001 01 80 10 80 lo",
        "20010db8000000000000000000000005 04 40 00 80 eth0",
        "20010db8000000000000000000000006 04 40 00 20 eth0",  # outdated
        "fe8000000000000000fc00fffe000001 04 40 20 80 eth0",  # of one cable
    )
    (tmp_path / "if_inet6").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(addresses, "_IPV6", tmp_path / "if_inet6")
    monkeypatch.setattr(addresses, "_ipv4", lambda: ["127.0.0.1", "192.168.1.20"])
    assert addresses.network_addresses(True) == ["192.168.1.20", "2001:db8::5"]
    assert addresses.network_addresses(False) == ["192.168.1.20"]
    assert addresses.url_of("2001:db8::5", 8000) == "http://[2001:db8::5]:8000/"
    monkeypatch.setattr(addresses, "_IPV6", tmp_path / "missing")
    assert addresses.network_addresses(True) == ["192.168.1.20"]


@pytest.mark.parametrize("host", ["192.0.2.77", "no such name"])
def test_an_address_of_another_machine_is_refused(host):
    with pytest.raises(InputError, match=rf"--web-host {host}: is no address of this machine \("):
        page_on(host)
