"""The names Beckn V2 fixes: JSON-LD contexts, types and closed vocabularies (BECKN 4.0, 4.1)."""

from __future__ import annotations

from typing import Final

_SCHEMAS: Final = "https://raw.githubusercontent.com/beckn/protocol-specifications-new/refs/heads/main/schema"

CORE: Final = f"{_SCHEMAS}/core/v2/context.jsonld"
SERVICE_PACK: Final = f"{_SCHEMAS}/EvChargingService/v1/context.jsonld"
OFFER_PACK: Final = f"{_SCHEMAS}/EvChargingOffer/v1/context.jsonld"
SESSION_PACK: Final = f"{_SCHEMAS}/EvChargingSession/v1/context.jsonld"
SETTLEMENT_PACK: Final = f"{_SCHEMAS}/PaymentSettlement/v1/context.jsonld"

VERSION: Final = "2.0.0"
DOMAIN_PREFIX: Final = "beckn.one:deg:ev-charging"
UBC_DOMAINS: Final = (DOMAIN_PREFIX, f"{DOMAIN_PREFIX}:*")  # the national network's (BECKN 0.1)

KWH: Final = {"unitText": "Kilowatt Hour", "unitCode": "KWH", "unitQuantity": 1}
MINUTE: Final = {"unitText": "Minute", "unitCode": "MIN", "unitQuantity": 1}

PAYMENT_METHODS: Final = frozenset({"UPI", "CREDIT_CARD", "DEBIT_CARD", "WALLET", "BANK_TRANSFER", "CASH", "APPLE_PAY"})
BUYER_ROLES: Final = frozenset({"BUYER", "SELLER", "INTERMEDIARY", "PAYER", "PAYEE", "FULFILLER"})
REFERENCE_KINDS: Final = frozenset({"ORDER", "FULFILLMENT", "ITEM", "PROVIDER", "AGENT", "OTHER"})
SUPPORT_CHANNELS: Final = frozenset({"PHONE", "EMAIL", "WEB", "CHAT", "WHATSAPP", "IN_APP", "OTHER"})
ORDER_STATUSES: Final = frozenset(
    {
        "CREATED",
        "PENDING",
        "CONFIRMED",
        "INPROGRESS",
        "PARTIALLYFULFILLED",
        "COMPLETED",
        "CANCELLED",
        "REJECTED",
        "FAILED",
        "RETURNED",
        "REFUNDED",
        "ONHOLD",
    }
)
MIN_POWER_W: Final = 1_000  # the pack's bounds of maxPowerKW
MAX_POWER_W: Final = 500_000
MAX_SAMPLES: Final = 20
