"""What splice(2) would save over read and write, on one core's worth of loopback: CPU seconds for each GiB that passes from
one socket to another, by the size of a message. Prints figures and judges nothing: `python3 examples/splice_cost.py`.
The feeder and the drain are processes of their own and are not counted. See docs/decisions/0021."""
import os, socket, time

def pair():
    listener = socket.create_server(("127.0.0.1", 0))
    near = socket.create_connection(listener.getsockname())
    far, _ = listener.accept()
    for end in (near, far):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far

def measure(size, total, splice):
    source, come = pair()
    go, sink = pair()
    if os.fork() == 0:
        block = bytes(size)
        for _ in range(total // size):
            source.sendall(block)
        os._exit(0)
    if os.fork() == 0:
        left = total
        while left:
            left -= len(sink.recv(1 << 20))
        os._exit(0)
    scratch = memoryview(bytearray(65536))
    read_end, write_end = os.pipe()
    left, calls, began = total, 0, time.process_time()
    while left:
        if splice:
            n = os.splice(come.fileno(), write_end, 65536)
            rest = n
            while rest:
                rest -= os.splice(read_end, go.fileno(), rest)
                calls += 1
        else:
            n = come.recv_into(scratch)
            go.sendall(scratch[:n])
            calls += 1
        calls += 1
        left -= n
    used = time.process_time() - began
    for end in (read_end, write_end):
        os.close(end)
    for end in (source, come, go, sink):
        end.close()
    os.wait(), os.wait()
    return used * (1 << 30) / total, calls

print(f"{'message':>9} {'copy':>12} {'splice':>12} {'of copy':>8}")
for size, total in ((256, 64 << 20), (4096, 256 << 20), (65536, 1 << 30), (1 << 20, 1 << 30)):
    rounds = [(measure(size, total, False)[0], measure(size, total, True)[0]) for _ in range(3)]
    copy, spliced = (min(figures) for figures in zip(*rounds))
    print(f"{size:>9} {copy:>8.2f} s/GiB {spliced:>8.2f} s/GiB {spliced / copy:>7.2f}")
