"""Models in processes of their own: what can crash, leak, hang or hold the interpreter never does so in the service.

A *nursery* is a process of one thread that has loaded a framework and nothing else. It forks the *workers*, one for
each version, so that a worker that died is back as soon as its artifact is read again. Service and worker speak in
frames over a socket pair; a worker answers whatever waits in its socket as one batch.
"""
