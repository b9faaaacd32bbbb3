"""The replay gateway: a TCP server that speaks the TWS protocol and serves recorded or synthetic markets.

bytes      wire · messages · requests · encoding
judgement  validation (malformed) · rules (too fast) · ledger (who asked what, and what broke a rule)
trouble    faults (scripts, and the engine that plays them)
answers    handlers · history · ranking
market     market (the interface) · synthetic · recording · hours
running    session (listens) · speaker (answers) · slots · server · embedded (in this process) · serve (alone)
"""
