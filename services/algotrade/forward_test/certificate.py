"""Certificates as messages."""

from __future__ import annotations

from typing import Final

from algotrade.forward_test import compare
from algotrade.forward_test.compare import Divergence
from algotrade.forward_test.messages import timestamp
from algotrade.forward_test.verify import Certificate, Report, Verdict
from algotrade.v1 import forward_test_service_pb2 as pb

VERDICTS: Final = {
    Verdict.IDENTICAL: pb.PARITY_VERDICT_IDENTICAL,
    Verdict.DIVERGED: pb.PARITY_VERDICT_DIVERGED,
    Verdict.INCOMPLETE: pb.PARITY_VERDICT_INCOMPLETE,
}
PARTS: Final = {
    compare.EVENT: pb.PARITY_PART_EVENT,
    compare.TRADE: pb.PARITY_PART_TRADE,
    compare.STATE: pb.PARITY_PART_STATE,
}


def certificate_message(one: Certificate) -> pb.ParityCertificate:
    """Write a certificate."""
    return pb.ParityCertificate(
        session_id=one.session.session_id,
        artefact_hash=one.session.artefact_hash,
        data_hash=one.data_hash,
        verdict=VERDICTS[one.verdict],
        segments=[_segment(segment) for segment in one.segments],
        divergence=None if one.divergence is None else _divergence(one.divergence),
        last_sequence=one.session.last_sequence,
        last_tick_sequence=one.session.last_tick_sequence,
    )


def _segment(one: Report) -> pb.ParitySegment:
    return pb.ParitySegment(
        segment=one.number,
        reason=one.reason,
        begin_offset=one.begin_offset,
        end_offset=one.end_offset,
        ticks=one.ticks,
        first_tick_sequence=one.first_tick[0],
        first_tick_time=timestamp(one.first_tick[1]) if one.ticks else None,
        last_tick_sequence=one.last_tick[0],
        last_tick_time=timestamp(one.last_tick[1]) if one.ticks else None,
        bars=one.bars,
        events=one.events,
        trades=one.trades,
        last_sequence=one.last_sequence,
        verdict=VERDICTS[one.verdict],
    )


def _divergence(one: Divergence) -> pb.ParityDivergence:
    differences = [pb.ParityDifference(field=d.field, expected=d.expected, stored=d.stored) for d in one.differences]
    timed = one.part != compare.STATE
    return pb.ParityDivergence(
        segment=one.segment,
        part=PARTS[one.part],
        sequence=one.sequence,
        bar_time=timestamp(one.bar_ns) if timed else None,
        event_time=timestamp(one.event_ns) if timed else None,
        tick_sequence=one.tick_sequence,
        node_id=one.node_id,
        missing=one.missing,
        unexpected=one.unexpected,
        differences=differences,
    )
