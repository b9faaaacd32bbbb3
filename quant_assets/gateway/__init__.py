"""The replay gateway: a TCP server that speaks the TWS protocol and serves recorded or synthetic markets."""
