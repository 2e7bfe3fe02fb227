"""Wire protocol, server and client. Knows no 3D."""
