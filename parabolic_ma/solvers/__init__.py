"""Methods: how a transport problem is solved."""
