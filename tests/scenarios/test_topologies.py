"""Behind ONIX and behind a protocol server: a simulated buyer buys through the adapter, end to end (BECKN 8)."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import yaml
from beckn_shop import PLAIN, RATED_KW, identity
from running import BPP_ID, Server, running
from schema import shared, validate_callback
from wire import until

from simulators import bodies
from simulators.adapter import Onix, ProtocolServer
from simulators.bap import Bap, NackedError
from simulators.buyer import Buyer
from simulators.ocpp_charger import Charger
from simulators.signing import registry_entry, sign, write_registry
from simulators.tongue_v1 import tongue

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).resolve().parents[2]
SECRET = "only the two of us know"
Json = dict[str, Any]


def rules(name: str) -> list[Json]:
    """A routing template as it is shipped."""
    loaded: list[Json] = yaml.safe_load((ROOT / "deploy/onix" / name).read_text())["routingRules"]
    return loaded


@dataclass(slots=True)
class Network:
    """A buyer app, an adapter and the server behind it."""

    server: Server
    bap: Bap
    adapter: Any
    receiver: str

    def buyer(self, dialect: str = "v2") -> Buyer:
        return Buyer(self.bap, self.receiver, bpp_id=BPP_ID, timeout_s=15, tongue=tongue(dialect))

    def discover(self) -> Json:
        return {"context": self.bap.context("discover", str(uuid.uuid4()), None), "message": bodies.discover()}


def _settings(mode: str, caller_url: str, uri: str, **more: Any) -> dict[str, dict[str, Any]]:
    beckn = {"mode": mode, "caller_url": caller_url, "bpp_uri": uri, "telemetry_every_s": 3600, "telemetry_share": 1}
    return {"beckn": {**beckn, **more}}


def schema_faults(_action: str, body: Json) -> list[str]:
    """As ONIX validates generation 2, where the published schemas are at hand."""
    if shared() is None or not body["context"]["version"].startswith("2."):
        return []
    return validate_callback(body)


@asynccontextmanager
async def behind_onix(folder: Path, **more: Any) -> AsyncIterator[Network]:
    """`more`: settings of [beckn] beside the topology."""
    me, theirs, registry = identity(), identity(BPP_ID, "onix-1"), folder / "registry.json"
    onix = Onix(
        theirs, registry, receiver_rules=rules("receiver-routing.yaml"), caller_rules=rules("caller-routing.yaml"),
        faults=schema_faults,
    )  # fmt: skip
    async with onix, Bap(me, registry) as bap:
        write_registry(registry, registry_entry(me, bap.uri, "BAP"), registry_entry(theirs, onix.receiver_uri, "BPP"))
        async with running(folder, _settings("onix", onix.caller_url, onix.receiver_uri, **more)) as server:
            onix.webhook = f"{server.public_url}/beckn/webhook"
            yield Network(server, bap, onix, onix.receiver_uri)


@asynccontextmanager
async def behind_protocol_server(folder: Path) -> AsyncIterator[Network]:
    me, theirs, registry = identity(), identity(BPP_ID, "ps-1"), folder / "registry.json"
    adapter = ProtocolServer(theirs, registry, shared_key=SECRET)
    async with adapter, Bap(me, registry) as bap:
        write_registry(registry, registry_entry(me, bap.uri, "BAP"), registry_entry(theirs, adapter.network_uri, "BPP"))
        settings = _settings("protocol_server", adapter.client_url, adapter.network_uri, webhook_secret=SECRET)
        async with running(folder, settings) as server:
            adapter.webhook = f"{server.public_url}/beckn/webhook"
            yield Network(server, bap, adapter, adapter.network_uri)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["onix", "protocol-server"])
async def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Network]:
    open_network = behind_onix if request.param == "onix" else behind_protocol_server
    async with open_network(tmp_path_factory.mktemp("topology")) as network:
        yield network
        assert network.bap.problems == []


@pytest.mark.parametrize("dialect", ["v2", "deg", "uei"])
async def test_a_whole_charge_is_bought_through_the_adapter(network: Network, dialect: str) -> None:
    charger_id = f"CP-{dialect}"
    await network.server.sell(charger_id, tariff=PLAIN, rated_kw=RATED_KW)
    async with Charger(
        charger_id, network.server.ocpp_url, kind="DC", rated_kw=60, power_scale=240, seed=1
    ) as charger:  # a kWh in a quarter of a second
        await charger.wait_online()
        await charger.wait_for("its status being known", lambda: charger.connectors[1].reported_status is not None)
        buyer = network.buyer(dialect)
        item, *_ = [one for one in await buyer.discover() if charger_id in json.dumps(one.raw)]
        assert (await buyer.select(item, kwh=1)).adds_up()
        await buyer.init()
        await buyer.pay()
        await buyer.confirm()
        await charger.plug_in()
        await buyer.start()
        bill = await buyer.wait_for_bill()
        assert bill.value > 0
    # Nothing of ours was signed, and everything went to the adapter under the path of its action.
    assert "the seller signed, though the adapter does" not in network.adapter.log
    found = "on_discover" if dialect == "v2" else "on_search"
    came = {path.rpartition("/")[2] for path, _ in network.adapter.received}
    assert came >= {found, "on_select", "on_init", "on_status", "on_confirm", "on_update"}
    assert all(path == body["context"]["action"] for path, body in network.adapter.received)
    assert {body["context"]["bpp_uri"] for _, body in network.adapter.received} == {network.receiver}


async def test_what_comes_through_an_adapter_is_acknowledged_in_the_old_shape(network: Network) -> None:
    """ONIX hands our answer to the buyer app as it is; a protocol server reads it itself."""
    if isinstance(network.adapter, ProtocolServer):
        raw = json.dumps(network.discover()).encode()
        status, body = await knock(network, raw, {"authorization": mac(raw)})
        assert status == 200
    else:
        body = await network.bap.post(f"{network.receiver}/discover", network.discover())
    assert body == {"message": {"ack": {"status": "ACK"}}}


@pytest.mark.parametrize("network", ["onix"], indirect=True)
async def test_a_refusal_reaches_the_buyer_app_as_we_wrote_it(network: Network) -> None:
    request = network.discover()
    request["context"] |= {"bapId": "x"}
    with pytest.raises(NackedError) as told:
        await network.bap.post(f"{network.receiver}/discover", request)
    assert told.value.status == 400
    assert told.value.body["message"] == {"ack": {"status": "NACK"}}
    assert "snake_case" in told.value.body["error"]["message"]


def mac(raw: bytes, key: str = SECRET) -> str:
    return f"HMAC-SHA-256 {hmac.new(key.encode(), raw, hashlib.sha256).hexdigest()}"


async def knock(network: Network, raw: bytes, headers: dict[str, str], path: str = "") -> tuple[int, Json]:
    """Past the adapter, straight to the webhook."""
    url = f"{network.server.public_url}/beckn/webhook{path}"
    async with (
        aiohttp.ClientSession() as http,
        http.post(url, data=io.BytesIO(raw), headers={"Content-Type": "application/json", **headers}) as answer,
    ):
        return answer.status, await answer.json()


@pytest.mark.parametrize("network", ["protocol-server"], indirect=True)
async def test_past_a_protocol_server_nobody_is_believed_without_the_shared_key(network: Network) -> None:
    raw = json.dumps(network.discover()).encode()
    good = mac(raw)
    forged = [
        "HMAC-SHA-256 ",
        mac(raw + b" "),
        mac(raw, "another key"),
        good.replace("HMAC-SHA-256", "Bearer"),
        sign(network.bap.identity, raw, 1),
    ]
    for header in ({}, *({"authorization": value} for value in forged)):
        status, body = await knock(network, raw, header)
        assert (status, body["error"]["code"]) == (401, "Unauthorized"), header
    assert (await knock(network, raw, {"authorization": good}))[0] == 200
    assert (await knock(network, raw, {"authorization": good}, "/discover"))[0] == 200


@pytest.mark.parametrize("network", ["onix"], indirect=True)
async def test_past_onix_nobody_is_believed_whose_signature_does_not_hold(network: Network) -> None:
    raw = json.dumps(network.discover()).encode()
    for header in ({}, {"Authorization": sign(identity(), raw, 1)}):
        status, body = await knock(network, raw, header, "/discover")
        assert (status, body["error"]["code"]) == (401, "Unauthorized")


@pytest.mark.parametrize("network", ["onix"], indirect=True)
async def test_a_message_the_adapter_finds_wrong_is_a_case_and_one_it_cannot_forward_now_is_sent_again(
    network: Network,
) -> None:
    onix: Onix = network.adapter

    async def ask(status: int) -> list[Json]:
        """What arrived at the adapter of the answer to one request, whose first try it answered with `status`."""
        request = network.discover()
        transaction_id = request["context"]["transaction_id"]
        onix.fail_next[transaction_id] = status
        await network.bap.post(f"{network.receiver}/discover", request)
        mine = lambda: [body for _, body in onix.received if body["context"]["transaction_id"] == transaction_id]  # noqa: E731

        async def is_settled() -> bool:
            return len(mine()) == 2 or bool(await cases())

        await until(is_settled)
        return mine()

    async def cases() -> list[Json]:
        found: list[Json] = (await network.server.api("GET", "/api/v1/cases"))["items"]
        return [case for case in found if case["type"] == "CALLBACK_FAILED"]

    first, second = await ask(500)
    assert first == second
    assert await cases() == []
    assert len(await ask(400)) == 1
    (case,) = await cases()
    assert "fault of this program" in case["text"]


async def test_a_shared_secret_may_stand_in_for_signatures(tmp_path: Path) -> None:
    async with behind_onix(tmp_path, reverify=False, webhook_secret=SECRET, webhook_header="X-Behind") as network:
        network.adapter.webhook_headers["X-Behind"] = SECRET
        assert await network.buyer().discover() == []
        raw = json.dumps(network.discover()).encode()
        for header in ({}, {"X-Behind": "guessed"}, {"X-Behind": SECRET + "x"}):
            status, body = await knock(network, raw, header)
            assert (status, body["error"]["code"]) == (401, "Unauthorized")
        network.adapter.webhook_headers["X-Behind"] = "guessed"
        with pytest.raises(NackedError):
            await network.buyer().discover()


async def test_the_templates_route_every_action_there_is() -> None:
    receiver, caller = rules("receiver-routing.yaml"), rules("caller-routing.yaml")
    for version, first in (("2.0.0", "discover"), ("1.1.0", "search")):
        actions = {first, "select", "init", "confirm", "status", "track", "update", "cancel", "rating", "support"}
        for rule in receiver:
            assert rule["targetType"] == "url"
            if rule["version"] == version:
                assert actions <= set(rule["endpoints"]), rule["domain"]
        answers = {f"on_{action}" for action in actions}
        to_buyers = [rule for rule in caller if rule["version"] == version and rule["targetType"] == "bap"]
        assert to_buyers
        for rule in to_buyers:
            assert answers <= set(rule["endpoints"]), rule["domain"]
