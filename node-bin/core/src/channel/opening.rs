//! Opening (BOLT 2, channel establishment v1), as opener and as acceptor. Until the funding is signed
//! nothing is durable: a crash or a disconnection forgets it.
