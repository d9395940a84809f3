# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import replace
from typing import Optional, Union

import pytest

from ha_agent.engine.target import choose
from ha_agent.engine.views import (
    Cluster,
    DataCenter,
    Domain,
    Host,
    HostedEngine,
    Target,
    Wanted,
)
from ha_agent.setup.step import SetupRefused

CENTERS = (DataCenter("d1", "Default", "up"), DataCenter("d2", "Other", "up"))
CLUSTERS = (Cluster("c1", "one", "d1"), Cluster("c2", "two", "d1"), Cluster("c3", "three", "d2"))
HE = HostedEngine(True, True, 3400, False, False)
HOSTS = (
    Host("h1", "beta", "192.0.2.2", "up", "c1"),
    Host("h2", "gamma", "192.0.2.3", "up", "c1", HE),
    Host("h3", "delta", "192.0.2.4", "up", "c2"),
    Host("h4", "alpha", "192.0.2.1", "up", "c2"),
)
WANTED = Wanted("sd", "vm", None, "elsewhere")


def chosen(
    wanted: Wanted = WANTED,
    hosts: tuple[Host, ...] = HOSTS,
    domain: Optional[Domain] = None,
) -> Union[Target, str]:
    return choose(wanted, domain, CENTERS, CLUSTERS, hosts)


def host_of(found: Union[Target, str]) -> str:
    assert isinstance(found, Target)
    return found.host.name


def test_a_host_of_the_hosted_engine_is_preferred() -> None:
    assert host_of(chosen()) == "gamma"


def test_this_host_is_preferred_most_and_brings_its_cluster() -> None:
    found = chosen(replace(WANTED, this_host="alpha"))
    assert isinstance(found, Target)
    assert (found.host.name, found.cluster.name) == ("alpha", "two")
    assert host_of(chosen(replace(WANTED, this_host="192.0.2.1"))) == "alpha"


def test_what_is_named_counts() -> None:
    assert host_of(chosen(replace(WANTED, cluster="two"))) == "alpha"
    assert host_of(chosen(replace(WANTED, host="192.0.2.4"))) == "delta"
    assert host_of(chosen(replace(WANTED, data_center="Default", cluster="c1"))) == "gamma"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data_center": "Nowhere"}, "no data centre Nowhere; it has: Default, Other"),
        ({"cluster": "nowhere"}, "no cluster nowhere; it has: one, three, two"),
        ({"host": "nobody"}, "no host nobody; it has: alpha, beta, delta, gamma"),
        ({"data_center": "Other", "cluster": "one"}, "no data centre fits"),
        ({"data_center": "Other"}, "data centre Other has no host that is Up"),
        ({"cluster": "one", "host": "alpha"}, "no host alpha in data centre Default"),
    ],
)
def test_what_is_not_there_is_refused(changes: dict[str, str], words: str) -> None:
    with pytest.raises(SetupRefused, match=words):
        chosen(replace(WANTED, **changes))  # type: ignore[arg-type]


def test_nothing_is_guessed_between_two_data_centres() -> None:
    hosts = (*HOSTS, Host("h5", "epsilon", "192.0.2.5", "up", "c3"))
    with pytest.raises(SetupRefused, match="name one with --datacenter: Default, Other"):
        chosen(hosts=hosts)
    assert host_of(chosen(replace(WANTED, this_host="epsilon"), hosts)) == "epsilon"
    assert host_of(chosen(replace(WANTED, data_center="d2"), hosts)) == "epsilon"


def test_where_the_domain_is_attached_decides() -> None:
    hosts = (*HOSTS, Host("h5", "epsilon", "192.0.2.5", "up", "c3"))
    domain = Domain("sd", "hosted_storage", "d2", "active")
    assert host_of(chosen(hosts=hosts, domain=domain)) == "epsilon"
    with pytest.raises(SetupRefused, match="attached to data centre Other already"):
        chosen(replace(WANTED, data_center="Default"), hosts, domain)
    with pytest.raises(SetupRefused, match="which this user may not see"):
        chosen(hosts=hosts, domain=replace(domain, data_center_id="d9"))


def test_a_host_that_comes_up_is_waited_for() -> None:
    hosts = (replace(HOSTS[0], status="maintenance"), replace(HOSTS[1], status="connecting"))
    assert chosen(hosts=hosts) == (
        "data centre Default has no host that is Up (beta is maintenance, gamma is connecting)"
    )
    with pytest.raises(SetupRefused, match="beta is maintenance\\); bring one up"):
        chosen(hosts=hosts[:1])
