"""The Beckn provider (BPP): signed messages in, use cases called, signed callbacks out.

Codecs (`v1`, `v2`), signing, filters and discovery are pure; only the HTTP edge, the dispatcher and the
callback sender wait for anything. Be liberal in what is accepted, exact in what is emitted.
"""
