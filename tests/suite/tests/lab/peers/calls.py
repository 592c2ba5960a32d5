"""A gRPC server and its client, without generated code: messages are bytes."""
import sys
import time
from concurrent import futures

import grpc

ADDRESS = sys.argv[2]


def get(request, context):
    if request == b"missing":
        context.abort(grpc.StatusCode.NOT_FOUND, "no such item: 7 €")
    return request * 2


def watch(request, context):
    for number in range(5):
        yield b"%d" % number
    if request == b"breaks":
        context.abort(grpc.StatusCode.UNAVAILABLE, "gone")


def gather(requests, context):
    return b"".join(requests)


def serve():
    methods = {
        "Get": grpc.unary_unary_rpc_method_handler(get),
        "Watch": grpc.unary_stream_rpc_method_handler(watch),
        "Gather": grpc.stream_unary_rpc_method_handler(gather),
    }
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("shop.Items", methods)])
    server.add_insecure_port(ADDRESS)
    server.start()
    server.wait_for_termination()


def status_of(call):
    try:
        call()
        return 0
    except grpc.RpcError as error:
        return error.code().value[0]


def ask():
    with grpc.insecure_channel(ADDRESS) as channel:
        get = channel.unary_unary("/shop.Items/Get")
        watch = channel.unary_stream("/shop.Items/Watch")
        gather = channel.stream_unary("/shop.Items/Gather")
        none = channel.unary_unary("/shop.Items/Nothing")
        print("Get", status_of(lambda: get(b"apples")))
        # Whoever looks has seen by now what is spoken: until then of long messages only the beginning is copied.
        time.sleep(0.5)
        for _ in range(20):
            print("Get", status_of(lambda: get(b"pears", metadata=[("authorization", "Bearer geheim")])))
        print("Get", status_of(lambda: get(b"missing")))
        print("Watch", status_of(lambda: list(watch(b"all"))))
        print("Watch", status_of(lambda: list(watch(b"breaks"))))
        print("Gather", status_of(lambda: gather(iter([b"a" * 20000] * 10))))
        print("Nothing", status_of(lambda: none(b"")))


{"serve": serve, "ask": ask}[sys.argv[1]]()
