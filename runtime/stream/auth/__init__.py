"""Who may connect: CURVE key pairs, the folder of keys that a server lets in, and the ZAP handler that asks
it."""
