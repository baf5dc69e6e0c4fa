//! The differential tests with clients that speak HTTP/2.

mod differential;
