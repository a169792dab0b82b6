//! Announcing (BOLT 7): announcement signatures, the announcement, this node's channel updates.
