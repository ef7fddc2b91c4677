"""How bytes travel between the members of a fleet: three transports behind one protocol.

``in_process`` is for tests, ``tls_socket`` needs the standard library alone, ``zenoh_session`` the
package eclipse-zenoh. What the bytes mean is a matter of :mod:`pynq_train.fleet.wire`.
"""
