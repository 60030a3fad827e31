"""The operator: what an EventFederation asks for, what there is, and what has to be done about it.

Everything here is pure: nothing reads a clock, a file or a network. Whoever receives from Kubernetes and NATS calls it.
"""
