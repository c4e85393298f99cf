"""Which codec a message or an order belongs to (BECKN 0)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from beckn_adapter.codec import Codec
from beckn_adapter.envelope import Context, Dialect
from csms.domain.refusal import Refusal, Why

V2 = "v2"
V2_UBC = "v2-ubc"
V1_DEFAULT = "v1-deg"


class Codecs:
    """Every dialect spoken here. `domains` says which network a `context.domain` belongs to; what is not in it is plain
    `v2`, or `v1-deg` in generation 1."""

    def __init__(self, codecs: Iterable[Codec], domains: Mapping[str, str] | None = None) -> None:
        self._by_network = {codec.network: codec for codec in codecs}
        self._domains = dict(domains or {})
        for domain, network in self._domains.items():
            if network not in self._by_network:
                raise ValueError(f"the domain {domain} is set to {network}; known are {', '.join(self._by_network)}")
        self.actions: frozenset[str] = frozenset().union(*(codec.actions for codec in self._by_network.values()))

    def of_context(self, context: Context) -> Codec:
        """The codec of a request. Refusal(INVALID_REQUEST) for a generation that is not spoken here."""
        network = self._domains.get(context.domain)
        generation = "v1" if context.dialect is Dialect.V1 else V2
        if network is None or not network.startswith(generation):
            network = V1_DEFAULT if context.dialect is Dialect.V1 else V2
        codec = self._by_network.get(network)
        if codec is None:
            raise Refusal(Why.INVALID_REQUEST, f"protocol version {context.version} is not offered here; use 2.0.0")
        return codec

    def of_network(self, network: str) -> Codec:
        """The codec an order was bought in."""
        return self._by_network.get(network) or self._by_network[V2]
