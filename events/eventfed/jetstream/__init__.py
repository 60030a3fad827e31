"""NATS JetStream: the connection, the stream, its reader and its publisher."""
