"""What the gateway reads from the stubs."""

from __future__ import annotations

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool

from algotrade.platform.gateway import api
from algotrade.platform.gateway.replies import CAUSES, replies
from algotrade.v1.error_reason_pb2 import ErrorReason


def methods():
    return {method.path: method for method in api.methods()}


def test_what_streams_what_reads_and_what_is_public():
    found = methods()
    assert {path.rpartition("/")[2] for path, method in found.items() if method.streaming} == {
        "StreamTicks",
        "StreamBars",
        "StreamSession",
        "WatchBacktest",
        "WatchOptimization",
        "StreamNotifications",
        "StreamUpdates",
    }
    assert {path.rpartition("/")[2] for path, method in found.items() if method.public} == {
        "Register",
        "Login",
        "RefreshToken",
        "ExchangeApiKey",
        "GetDetailedHealth",
    }
    assert not found["/algotrade.v1.ForwardTestService/StartSession"].read_only
    assert found["/algotrade.v1.ForwardTestService/GetSession"].read_only


def test_streams_are_named_so_and_only_they():
    for path, method in methods().items():
        assert path.rpartition("/")[2].startswith(("Stream", "Watch")) == method.streaming, path


def test_every_method_for_clients_has_a_rest_path_of_its_own_and_no_other_has_one():
    every = {f"/{s.full_name}/{one.name}": one.GetOptions() for s in api.services() for one in s.methods}
    assert not [path for path in every.keys() - methods() if every[path].HasExtension(annotations_pb2.http)]
    rules = [every[path].Extensions[annotations_pb2.http] for path in methods()]
    paths = [(rule.WhichOneof("pattern"), getattr(rule, rule.WhichOneof("pattern") or "get")) for rule in rules]
    assert all(path for _, path in paths)
    assert len(set(paths)) == len(paths) == len(methods())


def test_the_descriptor_set_is_whole_and_in_order():
    files = descriptor_pb2.FileDescriptorSet.FromString(api.descriptor_set()).file
    pool = descriptor_pool.DescriptorPool()
    for file in files:
        pool.Add(file)  # fails where an import comes after its use
    assert pool.FindServiceByName("algotrade.v1.StrategyService")
    assert pool.FindMessageTypeByName("google.rpc.BadRequest")


def test_every_reason_of_the_gateway_is_in_the_api():
    assert {f"ERROR_REASON_{cause.reason}" for cause in CAUSES} <= set(ErrorReason.keys())


def test_no_reply_hides_one_that_comes_after_it():
    seen = set()
    for reply in replies():
        group = (reply.http_status, reply.header)
        assert (*group, "") not in seen, reply
        assert (*group, reply.details_contain) not in seen, reply
        seen.add((*group, reply.details_contain))
