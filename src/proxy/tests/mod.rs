//! Tests on real sockets; see the files below.
