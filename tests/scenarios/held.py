"""Chargers that hold something: keys of OCPP 1.6, variables of 2.0.1. They answer as the specification wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from running import Server
from wire import Payload, Station16, Station201, at, until

Rows = dict[str, tuple[str, str]]  # name -> (value, mutability)


class Keys:
    """The configuration of a 1.6 charger. `words` are its answers to changes that are not plainly Accepted."""

    def __init__(self, cp: Station16, values: dict[str, str], *, readonly: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        self.values = dict(values)
        self.readonly = set(readonly)
        self.words: dict[str, str] = {}
        self.waiting: dict[str, str] = {}  # changed, and valid after the next boot
        cp.table["GetConfiguration"] = self.get
        cp.table["ChangeConfiguration"] = self.change

    def get(self, asked: Payload) -> Payload:
        names = asked.get("key") or list(self.values)
        known = [
            {"key": name, "value": self.values[name], "readonly": name in self.readonly}
            for name in names
            if name in self.values
        ]
        return {"configurationKey": known, "unknownKey": [name for name in names if name not in self.values]}

    def change(self, asked: Payload) -> Payload:
        word = self.words.get(asked["key"], "Accepted")
        if word == "Accepted":
            self.values[asked["key"]] = asked["value"]
        elif word == "RebootRequired":
            self.waiting[asked["key"]] = asked["value"]
        return {"status": word}

    def restart(self) -> None:
        """What waited for it counts."""
        self.values |= self.waiting
        self.waiting.clear()


class Variables:
    """The device model of a 2.0.1 station, by `Component.Variable` or `Component.Variable[instance]`."""

    def __init__(self, cs: Station201, rows: Rows) -> None:
        self.cs = cs
        self.rows = dict(rows)
        self.words: dict[str, str] = {}
        self.parts = 2
        self.lose: list[int] = []  # numbers of parts that are never sent, once each
        self.order: Callable[[list[Payload]], list[Payload]] = list
        self._tasks: set[asyncio.Task[None]] = set()
        cs.table["GetBaseReport"] = self.report
        cs.table["GetVariables"] = self.get
        cs.table["SetVariables"] = self.set

    @staticmethod
    def place(name: str) -> Payload:
        component, _, variable = name.partition(".")
        variable, _, instance = variable.rstrip("]").partition("[")
        named: Payload = {"name": variable}
        if instance:
            named["instance"] = instance
        return {"component": {"name": component}, "variable": named}

    @staticmethod
    def name(entry: Payload) -> str:
        instance = entry["variable"].get("instance")
        return f"{entry['component']['name']}.{entry['variable']['name']}" + (f"[{instance}]" if instance else "")

    def entries(self) -> list[Payload]:
        return [
            {
                **self.place(name),
                "variableAttribute": [{"value": value, "mutability": mutability}],
                "variableCharacteristics": {"dataType": "string", "supportsMonitoring": False},
            }
            for name, (value, mutability) in self.rows.items()
        ]

    def report(self, asked: Payload) -> Payload:
        entries = self.entries()
        size = -(-len(entries) // self.parts)
        chunks = [entries[start : start + size] for start in range(0, len(entries), size)]
        said = [
            {
                "requestId": asked["requestId"], "generatedAt": at(), "seqNo": number,
                "tbc": number < len(chunks) - 1, "reportData": chunk,
            }
            for number, chunk in enumerate(chunks)
        ]  # fmt: skip
        for number in list(self.lose):
            self.lose.remove(number)
            said = [part for part in said if part["seqNo"] != number]
        task = asyncio.get_running_loop().create_task(self._send(self.order(said)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return {"status": "Accepted"}

    async def _send(self, parts: list[Payload]) -> None:
        for part in parts:
            assert await self.cs.ask("NotifyReport", part) == {}

    def get(self, asked: Payload) -> Payload:
        results = []
        for entry in asked["getVariableData"]:
            row = self.rows.get(self.name(entry))
            told: Payload = {"attributeStatus": "UnknownVariable"}
            if row is not None:
                told = {"attributeStatus": "Accepted", "attributeValue": row[0]}
            results.append({**told, "component": entry["component"], "variable": entry["variable"]})
        return {"getVariableResult": results}

    def set(self, asked: Payload) -> Payload:
        results = []
        for entry in asked["setVariableData"]:
            name = self.name(entry)
            word = self.words.get(name, "Accepted")
            if word == "Accepted":
                self.rows[name] = (entry["attributeValue"], self.rows[name][1])
            results.append({"attributeStatus": word, "component": entry["component"], "variable": entry["variable"]})
        return {"setVariableResult": results}


async def standing(server: Server, charger_id: str, *states: str) -> Payload:
    """How the charger stands, once nothing is under way and it is one of these."""

    async def look() -> Payload | None:
        found: Payload = await server.api("GET", f"/api/v1/chargers/{charger_id}/provisioning")
        return found if not found["under_way"] and (not states or found["state"] in states) else None

    settled: Payload = await until(look)
    return settled


async def inventory(server: Server, charger_id: str, *, after: str | None = None) -> Payload:
    """How the charger stands, once everything was read (later than `after`)."""

    async def look() -> Payload | None:
        found: Payload = await server.api("GET", f"/api/v1/chargers/{charger_id}/provisioning")
        return found if found["inventory_at"] not in {None, after} and not found["under_way"] else None

    read: Payload = await until(look)
    return read


async def configuration(server: Server, charger_id: str, name: str = "") -> dict[str, Any]:
    """What the charger said of itself, as stored: name -> value."""
    found = await server.api("GET", f"/api/v1/chargers/{charger_id}/configuration?limit=1000&name={name}")
    return {one["name"]: one["value"] for one in found["items"]}
