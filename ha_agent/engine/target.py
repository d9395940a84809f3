# SPDX-License-Identifier: Apache-2.0
"""Which data centre, cluster and host the import goes to. Pure: lists in, a choice out.

Where the domain is attached already decides the data centre. Otherwise it follows from what the
operator named; where several would do, nothing is guessed. Of the hosts that are Up, in order:
this one, one that is configured for the hosted engine (it has the storage connected), any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional, Union

from ha_agent.engine.views import Cluster, DataCenter, Domain, Host, Target, Wanted
from ha_agent.setup.step import SetupRefused

# A host in one of these may be up in a moment; in any other, somebody has to do something.
_COMING_UP = (
    "", "connecting", "initializing", "installing", "installing_os", "reboot", "unassigned",
)  # fmt: skip


def choose(
    wanted: Wanted,
    domain: Optional[Domain],
    data_centers: Sequence[DataCenter],
    clusters: Sequence[Cluster],
    hosts: Sequence[Host],
) -> Union[Target, str]:
    """Return the target, or a sentence about what is waited for. Raises SetupRefused."""
    center = _data_center(wanted, domain, data_centers, clusters, hosts)
    inside = [cluster for cluster in clusters if cluster.data_center_id == center.id]
    if wanted.cluster:
        inside = [one for one in inside if wanted.cluster in (one.id, one.name)]
        if not inside:
            raise SetupRefused(f"data centre {center.name} has no cluster {wanted.cluster}")
    of_clusters = {cluster.id: cluster for cluster in inside}
    there = [host for host in hosts if host.cluster_id in of_clusters]
    if wanted.host:
        there = [host for host in there if host.is_called(wanted.host)]
        if not there:
            raise SetupRefused(f"no host {wanted.host} in data centre {center.name}")
    up = [host for host in there if host.status == "up"]
    if not up:
        told = ", ".join(
            f"{host.name} is {host.status or 'in an unknown state'}" for host in there
        )
        sentence = f"data centre {center.name} has no host that is Up ({told or 'it has no host'})"
        if any(host.status in _COMING_UP for host in there):
            return sentence
        raise SetupRefused(f"{sentence}; bring one up in the engine first")
    host = min(up, key=lambda one: _rank(one, wanted.this_host))
    return Target(center, of_clusters[host.cluster_id], host)


def _rank(host: Host, this_host: str) -> tuple[bool, bool, str]:
    configured = host.hosted_engine is not None and host.hosted_engine.configured
    return (not host.is_called(this_host), not configured, host.name)


def _data_center(
    wanted: Wanted,
    domain: Optional[Domain],
    data_centers: Sequence[DataCenter],
    clusters: Sequence[Cluster],
    hosts: Sequence[Host],
) -> DataCenter:
    named = [one for one in data_centers if wanted.data_center in (one.id, one.name)]
    if wanted.data_center and not named:
        raise SetupRefused(_none_of("data centre", wanted.data_center, data_centers))
    if domain is not None and domain.data_center_id:
        return _where_it_is(wanted, domain, data_centers, named)
    fitting = named or list(data_centers)
    if wanted.cluster:
        ids = [one.data_center_id for one in clusters if wanted.cluster in (one.id, one.name)]
        if not ids:
            raise SetupRefused(_none_of("cluster", wanted.cluster, clusters))
        fitting = [one for one in fitting if one.id in ids]
    found = hosts
    if wanted.host:
        found = [host for host in hosts if host.is_called(wanted.host)]
        if not found:
            raise SetupRefused(_none_of("host", wanted.host, hosts))
    if not wanted.data_center:
        with_hosts = {host.cluster_id for host in found}
        ids = [one.data_center_id for one in clusters if one.id in with_hosts]
        fitting = [one for one in fitting if one.id in ids]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise SetupRefused("no data centre fits: none has such a cluster with such a host")
    mine = {host.cluster_id for host in hosts if host.is_called(wanted.this_host)}
    ids = [one.data_center_id for one in clusters if one.id in mine]
    of_this_host = [one for one in fitting if one.id in ids]
    if len(of_this_host) == 1:
        return of_this_host[0]
    names = ", ".join(sorted(one.name for one in fitting))
    raise SetupRefused(f"several data centres would do; name one with --datacenter: {names}")


def _where_it_is(
    wanted: Wanted,
    domain: Domain,
    data_centers: Sequence[DataCenter],
    named: Sequence[DataCenter],
) -> DataCenter:
    for one in data_centers:
        if one.id != domain.data_center_id:
            continue
        if wanted.data_center and one not in named:
            raise SetupRefused(
                f"storage domain {domain.name} is attached to data centre {one.name} already, "
                f"not to {wanted.data_center}"
            )
        return one
    raise SetupRefused(
        f"storage domain {domain.name} is attached to data centre {domain.data_center_id}, "
        "which this user may not see"
    )


def _none_of(kind: str, name: str, known: Sequence[Union[DataCenter, Cluster, Host]]) -> str:
    names = ", ".join(sorted(one.name for one in known)) or "none"
    return f"the engine has no {kind} {name}; it has: {names}"
