"""A RunPod that can be played: its REST v2 on a local HTTP server, and pods that are real or stand-ins.

    python -m tests.clusters.played        needs root, iproute2, openssh-server and rsync; prints what to
    export

`api` speaks the calls that clusters/ uses and refuses what the service would; `cloud` holds pods, faults,
prices and the ledger (billed by the second); `namespaces` makes a pod a network namespace with an sshd of its
own and a private home, /tmp and checkout; `standin` is a port that says "SSH-", for the tests that need no
more.
"""
