"""A charger that behaves like hardware: power, link, sockets, meters, an offline queue, and its faults.

    async with Charger("CP1", "ws://127.0.0.1:9000/ocpp", version="1.6", power_scale=60) as charger:
        await charger.wait_online()
        await charger.plug_in(1)
        await charger.present_tag("TAG1")
        await charger.wait_delivered(1, 500)
        await charger.stop_local(1)
        await charger.wait_drained()
    charger.truth[0].delivered_wh     # what really went through the meter

`complaints` collects what the central system did against the protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable

from simulators.dialect16 import Dialect16
from simulators.dialect201 import Dialect201
from simulators.line import Line
from simulators.physics import Vehicle
from simulators.station import KIND_SAMPLE, KIND_STOP, Connector, Queued, Session
from simulators.wire import CallRefusedError, CallTimeoutError, LinkLostError, Payload


class StoryError(AssertionError):
    """What a story waited for did not come."""


class Charger(Line):
    """One simulated charger. Use it as an async context manager; its commands are what a person at it can do.

    `rated_kw` is the nameplate of each socket; energy flows `power_scale` times faster (see `physics`), so the
    central system should be told `effective_kw`. Sample intervals are shortened by the same factor. `faults`
    are names of `faults.FAULTS`. `settings` overrides `SETTINGS` and is read-only
    for the central system. `queue_file` keeps the offline queue on disk.
    """

    def make_dialect(self) -> Dialect16 | Dialect201:
        return Dialect16(self) if self.version == "1.6" else Dialect201(self)

    def begin_work(self) -> None:
        self._own(self._tick())

    # -- what a person at the charger can do -------------------------------------------------------------------

    async def plug_in(self, connector: int = 1, vehicle: Vehicle | None = None) -> None:
        """Put the plug in. Charging starts if somebody is authorised already."""
        socket = self.connectors[connector]
        default = Vehicle() if self.kind == "DC" else Vehicle(max_power_w=22_000)
        socket.outlet.vehicle = vehicle if vehicle is not None else default
        if socket.authorized_token is not None:
            self._begin(socket)
        elif socket.status in {"Available", "Reserved"}:
            self.set_status(socket, "Preparing")

    async def unplug(self, connector: int = 1) -> None:
        """Pull the plug; a running session ends with EVDisconnected."""
        socket = self.connectors[connector]
        if socket.session is not None:
            self.end_session(socket, "EVDisconnected")
        socket.outlet.vehicle = None
        self._settle_idle(socket)

    async def present_tag(self, tag: str, connector: int = 1) -> bool:
        """Hold a card to the reader: ends the session of that card, else authorises and starts. True: accepted."""
        socket = self.connectors[connector]
        if socket.session is not None:
            if socket.session.token != tag:
                return False
            self.end_session(socket, "Local")
            return True
        if self.is_online:
            action, payload = self.dialect.authorize(tag)
            try:
                accepted = self.dialect.is_accepted(await self.call(action, payload))
            except (LinkLostError, CallTimeoutError, CallRefusedError):
                accepted = self.settings["LocalAuthorizeOffline"] == "true"
        else:
            accepted = self.settings["AllowOfflineTxForUnknownId"] == "true"
        if accepted:
            self.authorize(socket, tag)
        return accepted

    async def stop_local(self, connector: int = 1) -> None:
        """Press the stop button."""
        socket = self.connectors[connector]
        if socket.session is None:
            raise StoryError(f"{self.identity}: nothing to stop on connector {connector}")
        self.end_session(socket, "Local")

    async def go_offline(self, seconds: float | None = None) -> None:
        """Lose the link; charging goes on. With `seconds` it comes back by itself."""
        self.note("link lost")
        self._linked.clear()
        self._drop_link()
        if seconds is not None:
            self._own(self._later(seconds, self.go_online))

    async def go_online(self) -> None:
        """The network is back."""
        self._linked.set()

    async def power_cut(self, seconds: float | None = None, *, silent: bool = False) -> None:
        """The site loses power: link and charging stop at once. With `seconds` the power comes back by itself.

        `silent`: the other side is not told by the network and must find out by its own pings.
        """
        self.note("power cut")
        self._powered.clear()
        self._cut_ms = self.now_ms()
        for socket in self.connectors.values():
            socket.outlet.is_closed = False
            socket.authorized_token = None
        self._notices.clear()
        self._drop_link(silently=silent)
        if seconds is not None:
            self._own(self._later(seconds, self.power_on))

    async def power_on(self) -> None:
        """The power is back: open sessions are ended or forgotten, then the charger boots."""
        self.note("power back")
        if self.faults.on("swap_serial_same_id"):
            self.serial = f"{self.serial[:23]}-B"
        for socket in self.connectors.values():
            if self.faults.on("meter_reset_on_boot") or self.faults.on("swap_serial_same_id"):
                socket.register_offset_wh = socket.outlet.register_wh
            session = socket.session
            if session is not None and self.faults.on("power_cut_no_stop"):
                session.stop_ms, session.end_register_wh = self._cut_ms, socket.outlet.register_wh
                session.stop_reason = "PowerLoss, never told"
                self.outbox.forget_session(session.local_id, {KIND_SAMPLE, KIND_STOP})
                socket.session = None
            elif session is not None:
                self.end_session(socket, "PowerLoss", at_ms=self._cut_ms)
            socket.status = "Preparing" if socket.is_plugged else "Available"
        self.reboot("PowerUp")
        self._powered.set()

    async def press_power_key(self) -> None:
        """The main switch: off when it is on, on when it is off."""
        await (self.power_cut() if self._powered.is_set() else self.power_on())

    def set_car_limit(self, limit_kwh: float | None, connector: int = 1) -> None:
        """The driver tells the car where to stop: it takes exactly that much in this plug-in."""
        car = self.connectors[connector].outlet.vehicle
        if car is None:
            raise StoryError(f"{self.identity}: no car on connector {connector}")
        car.limit_wh = None if limit_kwh is None else limit_kwh * 1000

    # -- waiting for things ------------------------------------------------------------------------------------

    async def wait_for(self, what: str, is_so: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Wait until `is_so()`; a StoryError that names `what` when it does not come in time."""
        try:
            async with asyncio.timeout(timeout_s):
                while not is_so():  # noqa: ASYNC110 - the conditions are plain facts without an event
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise StoryError(f"{self.identity}: {what} did not come within {timeout_s} s") from None

    async def wait_online(self, timeout_s: float = 10.0) -> None:
        await self.wait_for("being accepted", lambda: self.is_online, timeout_s)

    async def wait_session(self, connector: int = 1, timeout_s: float = 10.0) -> Session:
        """Wait until a session runs on `connector`."""
        socket = self.connectors[connector]
        await self.wait_for("a running session", lambda: socket.session is not None, timeout_s)
        assert socket.session is not None
        return socket.session

    async def wait_ended(self, connector: int = 1, timeout_s: float = 10.0) -> None:
        socket = self.connectors[connector]
        await self.wait_for("the end of the session", lambda: socket.session is None, timeout_s)

    async def wait_delivered(self, connector: int, energy_wh: float, timeout_s: float = 30.0) -> None:
        """Wait until the latest session of `connector` has TRULY delivered `energy_wh`."""

        def delivered() -> bool:
            latest = next((s for s in reversed(self.truth) if s.connector == connector), None)
            return latest is not None and latest.delivered_wh >= energy_wh

        await self.wait_for(f"{energy_wh:.0f} Wh on connector {connector}", delivered, timeout_s)

    async def wait_drained(self, timeout_s: float = 10.0) -> None:
        """Wait until every transaction message has been answered (or given up)."""
        await self.wait_for("the empty queue", lambda: self.is_online and not self.outbox.items, timeout_s)

    # -- what the dialects ask of it -----------------------------------------------------------------------------

    def set_status(self, socket: Connector, status: str) -> None:
        """Change the state of a socket and tell it when online."""
        if socket.status == status and socket.reported_status == status:
            return
        socket.status = status
        if self.is_online:
            self.tell_status(socket)

    def tell_status(self, socket: Connector | None) -> None:
        """Queue a StatusNotification; `None` is the station itself (connector 0)."""
        if socket is not None and self.faults.on("status_connector0_only"):
            return
        if socket is not None:
            socket.reported_status = socket.status
        self.tell(*self.dialect.status(socket))

    def tell_statuses(self, *, everything: bool) -> None:
        """After (re)connecting: queue the states the central system does not know."""
        if everything:
            self.tell_status(None)
        for socket in self.connectors.values():
            if everything or socket.status != socket.reported_status:
                self.tell_status(socket)

    def authorize(self, socket: Connector, token: str, remote_start_id: int | None = None) -> None:
        """Somebody may charge here: begin now, or when the plug comes in, or give up after ConnectionTimeOut."""
        socket.authorized_token, socket.remote_start_id = token, remote_start_id
        if socket.is_plugged:
            self._begin(socket)
            return
        self.set_status(socket, "Preparing")
        self._own(self._later(float(self.settings["ConnectionTimeOut"]), lambda: self._give_up(socket, token)))

    def end_session(self, socket: Connector, reason: str, at_ms: int | None = None) -> None:
        """End the session of `socket`: the contactor opens, the stop is queued."""
        session = socket.session
        if session is None:
            return
        socket.session = None
        socket.outlet.is_closed = False
        session.end_register_wh = socket.outlet.register_wh
        session.stop_ms = self.now_ms() if at_ms is None else at_ms
        session.stop_reason = reason
        self._queue_stop(socket, session, reason)
        if socket.is_plugged and reason != "PowerLoss":
            self.set_status(socket, "Finishing")
        else:
            self._settle_idle(socket)

    def sample(self, socket: Connector, trigger: str = "MeterValuePeriodic") -> None:
        """Queue one reading of the running session."""
        session = socket.session
        if session is None or session.local_id in self._held_start:
            return
        item = self.dialect.sample(socket, session, trigger)
        if self._held_sample is not None:
            held, self._held_sample = self._held_sample, None
            self._queue(item)
            self._queue(held)
        elif self.faults.chance("reordered_frames", 0.5):
            self._held_sample = item
        else:
            self._queue(item)

    def reported_register_wh(self, socket: Connector, session: Session | None) -> int:
        """The register as this charger's firmware counts it."""
        if session is not None and self.faults.on("meter_session_relative"):
            return session.delivered_wh
        return socket.register_wh

    def reset(self, stop_reason: str, boot_reason: str, *, wait_idle: bool = False) -> None:
        """Answer to a Reset: end sessions, deliver what is queued if the link allows, go down and boot."""
        self._own(self._reset(stop_reason, boot_reason, wait_idle))

    def _settle_idle(self, socket: Connector) -> None:
        if socket.pending_inoperative:
            socket.is_operative, socket.pending_inoperative = False, False
        if not socket.is_operative:
            self.set_status(socket, "Unavailable")
        elif socket.is_plugged:
            self.set_status(socket, "Preparing")
        else:
            self.set_status(socket, "Reserved" if socket.reservation else "Available")

    async def _give_up(self, socket: Connector, token: str) -> None:
        if socket.session is None and socket.authorized_token == token:
            socket.authorized_token = socket.remote_start_id = None
            self._settle_idle(socket)

    def _begin(self, socket: Connector) -> None:
        assert socket.authorized_token is not None
        session = Session(
            local_id=uuid.uuid4().hex[:32],
            connector=socket.number,
            token=socket.authorized_token,
            start_ms=self.now_ms(),
            start_register_wh=socket.outlet.register_wh,
            remote_start_id=socket.remote_start_id,
            reservation_id=socket.reservation[0] if socket.reservation else None,
            was_offline_at_start=not self.is_online,
        )
        session.meter(socket.outlet.register_wh)
        socket.session, socket.authorized_token, socket.remote_start_id = session, None, None
        socket.reservation = None
        self.truth.append(session)
        item = self.dialect.start(socket, session)
        if self.faults.on("stop_without_start") or self.faults.on("start_after_stop"):
            self._held_start[session.local_id] = item
        else:
            self._queue(item)
        socket.outlet.is_closed = True
        socket.next_sample_s = time.monotonic() + (self.sample_every_s or 0.0)
        self.set_status(socket, "Charging")

    def _queue_stop(self, socket: Connector, session: Session, reason: str) -> None:
        item = self.dialect.stop(socket, session, reason)
        self._queue(item)
        if self._held_sample is not None:
            held, self._held_sample = self._held_sample, None
            self._queue(held)
        start = self._held_start.pop(session.local_id, None)
        if start is not None and self.faults.on("start_after_stop"):
            self._queue(start)
        if self.faults.on("dup_stop_other_meter"):
            self._queue(self.dialect.stop(socket, session, reason, extra_wh=137))

    def _queue(self, item: Queued) -> None:
        self.outbox.put(item)
        self._work.set()

    async def _reset(self, stop_reason: str, boot_reason: str, wait_idle: bool) -> None:
        if wait_idle:
            await self.wait_for("idle", lambda: all(s.session is None for s in self.connectors.values()), 86_400)
        for socket in self.connectors.values():
            self.end_session(socket, stop_reason)
        with contextlib.suppress(StoryError):
            await self.wait_drained(2.0)
        self._drop_link()
        self.reboot(boot_reason)

    async def _tick(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(self.tick_s)
            now = time.monotonic()
            passed, last = now - last, now
            for socket in self.connectors.values():
                if socket.session is not None and self._powered.is_set():
                    self._charge(socket, socket.session, passed, now)

    def _charge(self, socket: Connector, session: Session, seconds: float, now: float) -> None:
        socket.outlet.step(seconds)
        session.meter(socket.outlet.register_wh)
        car = socket.outlet.vehicle
        resting = car is not None and car.is_satisfied
        if resting and socket.status == "Charging":
            self.sample(socket)  # the last reading before the car rests
            self.set_status(socket, "SuspendedEV")
        elif not resting and socket.status == "SuspendedEV":
            self.set_status(socket, "Charging")
        every = self.sample_every_s
        if every is not None and now >= socket.next_sample_s:
            socket.next_sample_s = max(socket.next_sample_s + every, now)
            self.sample(socket)

    def learn(self, session: Session | None, answer: Payload) -> None:
        """Take in the answer to a start: its id, and whether the token is good."""
        if session is None:
            return
        self.dialect.learn(session, answer)
        if len(set(session.starts_answered)) > 1:
            self.complain(f"one start, several transaction ids: {session.starts_answered}")
        socket = self.connectors[session.connector]
        refused = not self.dialect.is_accepted(answer, default=True)
        if refused and socket.session is session and self.settings["StopTransactionOnInvalidId"] == "true":
            self.end_session(socket, "DeAuthorized")
