//! TLS on either side, with a certificate made for these tests.
