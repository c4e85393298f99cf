"""Documents as pages to print: one HTML file each, complete in itself, without scripts and without any other address.

Every word that comes from outside is escaped here and nowhere else: what is put together below is `_Html`, and text
becomes it only through `_text`.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Final, NewType

from csms.domain.invoice import DocumentKind, Invoice, Party
from csms.domain.statement import Account, CdrTotals, Statement
from csms.domain.taxes import STATES
from csms.domain.units import from_minor, local

_Html = NewType("_Html", str)

TITLES: Final = {
    DocumentKind.INVOICE: "Tax invoice",
    DocumentKind.CREDIT_NOTE: "Credit note",
    DocumentKind.DEBIT_NOTE: "Debit note (supplementary invoice)",
    DocumentKind.BAP_STATEMENT: "Statement of account",
    DocumentKind.CDR_STATEMENT: "Statement of charging sessions",
    DocumentKind.FLEET_STATEMENT: "Statement of charging sessions of a fleet",
}
_STYLE: Final = (
    "body{font:14px/1.4 sans-serif;max-width:46em;margin:2em auto;padding:0 1em;color:#111}"
    "h1{font-size:1.5em;margin:0 0 .2em}table{border-collapse:collapse;width:100%;margin:1em 0}"
    "th,td{text-align:left;padding:.3em .6em .3em 0;vertical-align:top;border-bottom:1px solid #ccc}"
    "td.n,th.n{text-align:right;padding-right:0;font-variant-numeric:tabular-nums}"
    "tr.sum td{font-weight:bold;border-top:2px solid #111}.parties{display:flex;gap:3em}.parties div{flex:1}"
    ".small{font-size:.85em;color:#444}@media print{body{margin:0;max-width:none}}"
)


def invoice_page(it: Invoice) -> bytes:
    """An invoice or a note."""
    sign = -1 if it.kind is DocumentKind.CREDIT_NOTE else 1
    title = TITLES[it.kind] if it.figures.tax_minor or it.kind is not DocumentKind.INVOICE else "Invoice"
    return _page(
        f"{title} {it.number}",
        _tag("h1", _text(title)),
        _facts(
            ("Number", it.number),
            ("Date", _day(it.issued_ms, it.zone)),
            ("Corrects invoice", _referred(it)),
            ("Date of supply", _day(it.supplied_ms, it.zone)),
            ("Place of supply", _state(it.place_of_supply)),
            ("Order", it.order_number or it.order_id),
            ("Ordered through", it.bap_id),
        ),
        _raw(f'<div class="parties">{_party("Sold by", it.seller)}{_party("Sold to", it.buyer)}</div>'),
        _metered(it),
        _money(it, sign),
        _paid(it),
        _tag("p", _text(it.footer), "small") if it.footer else _raw(""),
    )


def account_page(it: Statement) -> bytes:
    """The account of a buyer app for a month."""
    zone, account = it.zone, it.account
    assert account is not None
    return _page(
        f"{TITLES[it.kind]} {it.number}",
        _tag("h1", _text(TITLES[it.kind])),
        _facts(*_statement_head(it)),
        _amounts(
            it.currency,
            ("Open at the beginning", account.opening_minor),
            ("Collected from buyers", account.collected_minor),
            ("Refunded to buyers", -account.refunded_minor),
            ("Finder fee retained", -account.retained_minor),
            ("Paid over", -account.remitted_minor),
            ("Tax deducted at source, as recorded", -account.withheld_minor),
            total=("Open at the end", account.closing_minor),
        ),
        _withholding(it, account),
        _amounts(
            it.currency,
            ("Billed to buyers where we collected", account.own_billed_minor),
            total=("Finder fee we owe on these", account.own_finder_minor),
        ),
        _tag(
            "p",
            _text(
                f"{account.orders} orders moved money in this period. Every movement stands in the lines that belong"
                f" to this statement (CSV). Made {_moment(it.issued_ms, zone)}."
            ),
            "small",
        ),
    )


def sessions_page(it: Statement) -> bytes:
    """Sessions of a buyer app or a fleet in a month."""
    totals = it.sessions
    assert totals is not None
    return _page(
        f"{TITLES[it.kind]} {it.number}",
        _tag("h1", _text(TITLES[it.kind])),
        _facts(*_statement_head(it)),
        _facts(
            ("Sessions billed", str(totals.sessions)),
            ("Corrections of earlier bills", str(totals.corrections)),
            ("Energy", _kwh(totals.energy_wh)),
        ),
        _amounts(
            it.currency,
            ("Before tax", totals.amount_minor - totals.tax_minor),
            ("Tax", totals.tax_minor),
            total=("Total", totals.amount_minor),
        ),
        _fleet_account(it),
        _tag("p", _text(_cdr_words(totals, it)), "small"),
    )


def _fleet_account(it: Statement) -> _Html:
    account = it.account
    if account is None or account.is_empty:
        return _raw("")
    return _amounts(
        it.currency,
        ("Open at the beginning", account.opening_minor),
        ("Put on account", account.collected_minor),
        ("Paid", -account.remitted_minor),
        ("Tax deducted at source, as recorded", -account.withheld_minor),
        total=("To be paid", account.closing_minor),
    )


def _cdr_words(totals: CdrTotals, it: Statement) -> str:
    return (
        f"{totals.sessions + totals.corrections} lines belong to this statement (CSV). A session stands in the month"
        f" in which it was billed; what was billed again stands as a difference. Made {_moment(it.issued_ms, it.zone)}."
    )


# ---------------------------------------------------------------- parts of an invoice


def _referred(it: Invoice) -> str | None:
    if it.refers_to is None:
        return None
    return f"{it.refers_to} of {_day(it.refers_to_ms, it.zone)}" if it.refers_to_ms is not None else it.refers_to


def _party(heading: str, it: Party) -> _Html:
    lines = [
        it.name,
        it.address,
        _state(it.state),
        f"GSTIN {it.gstin}" if it.gstin else None,
        f"Tax number as given: {it.other_tax_id}" if it.other_tax_id else None,
    ]
    said = "<br>".join(_text(line) for line in lines if line)
    return _raw(f"<div><strong>{_text(heading)}</strong><br>{said}</div>")


def _metered(it: Invoice) -> _Html:
    m = it.metered
    registers = None
    if m.meter_start_wh is not None and m.meter_stop_wh is not None:
        registers = f"{_kwh(m.meter_start_wh)} to {_kwh(m.meter_stop_wh)}"
    return _facts(
        ("Charged at", ", ".join(part for part in (m.place, m.station) if part) or None),
        ("From", _moment(m.started_ms, it.zone) if m.started_ms is not None else None),
        ("Until", _moment(m.ended_ms, it.zone) if m.ended_ms is not None else None),
        ("Energy", _kwh(m.energy_wh) if m.session_id else None),
        ("Register", registers),
        ("Session", m.session_id),
    )


def _money(it: Invoice, sign: int) -> _Html:
    taxed = [line for line in it.lines if line.is_taxed]
    other = [line for line in it.lines if not line.is_taxed]
    rows = [_row(line.description, it.code, _amount(sign * line.amount_minor)) for line in taxed]
    if it.prices_include_tax:
        rows.append(_row("of which before tax", "", _amount(sign * it.figures.taxable_minor)))
    else:
        rows.append(_row("Taxable value", "", _amount(sign * it.figures.taxable_minor)))
    for tax in it.taxes:
        words = f"{'of which ' if it.prices_include_tax else ''}{tax.label} {tax.percent.normalize():f}%"
        rows.append(_row(words, "", _amount(sign * tax.amount_minor)))
    rows += [_row(f"{line.description} (outside the tax)", "", _amount(sign * line.amount_minor)) for line in other]
    words = "Total credited" if it.kind is DocumentKind.CREDIT_NOTE else "Total"
    rows.append(_row(words, "", f"{_amount(sign * it.figures.total_minor)} {it.currency}", is_sum=True))
    head = _raw(f'<tr><th>Description</th><th>SAC</th><th class="n">{_text(it.currency)}</th></tr>')
    return _raw(f"<table>{head}{''.join(rows)}</table>")


def _row(words: str, code: str, amount: str, *, is_sum: bool = False) -> _Html:
    mark = ' class="sum"' if is_sum else ""
    return _raw(f'<tr{mark}><td>{_text(words)}</td><td>{_text(code)}</td><td class="n">{_text(amount)}</td></tr>')


def _paid(it: Invoice) -> _Html:
    said = [
        f"{_amount(paid.amount_minor)} {it.currency}, reference {paid.ref}"
        + (f", {_moment(paid.at_ms, it.zone)}" if paid.at_ms is not None else "")
        for paid in it.payments
    ]
    return _tag("p", _text("Paid or held: " + "; ".join(said)), "small") if said else _raw("")


# ---------------------------------------------------------------- parts of a statement


def _statement_head(it: Statement) -> Sequence[tuple[str, str | None]]:
    return (
        ("Number", it.number),
        ("Date", _day(it.issued_ms, it.zone)),
        ("From", it.provider),
        ("For", it.party),
        ("Period", it.period),
    )


def _withholding(it: Statement, account: Account) -> _Html:
    if not (account.withholding_minor or account.withheld_minor or account.withholding_open_minor):
        return _raw("")
    return _amounts(
        it.currency,
        (f"To be deducted at source for this period ({account.withholding_words})", account.withholding_minor),
        ("Of all periods, not yet recorded", account.withholding_open_minor),
        total=("To be paid over", account.to_remit_minor),
    )


def _amounts(currency: str, *rows: tuple[str, int], total: tuple[str, int]) -> _Html:
    made = [_row(words, "", _amount(amount)) for words, amount in rows]
    made.append(_row(total[0], "", f"{_amount(total[1])} {currency}", is_sum=True))
    return _raw(f"<table>{''.join(made)}</table>")


# ---------------------------------------------------------------- the pieces


def _page(title: str, *parts: _Html) -> bytes:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    ).encode()


def _raw(text: str) -> _Html:
    return _Html(text)


def _text(text: str | None) -> _Html:
    return _Html(html.escape(text or "", quote=True))


def _tag(name: str, inner: _Html, kind: str = "") -> _Html:
    mark = f' class="{kind}"' if kind else ""
    return _raw(f"<{name}{mark}>{inner}</{name}>")


def _facts(*rows: tuple[str, str | None]) -> _Html:
    made: Iterable[str] = (f"<tr><th>{_text(name)}</th><td>{_text(said)}</td></tr>" for name, said in rows if said)
    body = "".join(made)
    return _raw(f"<table>{body}</table>") if body else _raw("")


def _amount(amount_minor: int) -> str:
    return str(from_minor(amount_minor))


def _kwh(energy_wh: int) -> str:
    return f"{energy_wh // 1000}.{energy_wh % 1000:03d} kWh" if energy_wh >= 0 else f"-{_kwh(-energy_wh)}"


def _state(code: str | None) -> str | None:
    return f"{STATES[code]} ({code})" if code in STATES else code


def _day(at_ms: int | None, zone: str) -> str:
    return f"{local(at_ms, zone):%d %B %Y}" if at_ms is not None else ""


def _moment(at_ms: int, zone: str) -> str:
    at = local(at_ms, zone)
    return f"{at:%d %B %Y, %H:%M} {at.tzname() or zone}"
