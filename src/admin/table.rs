//! The families of the table sink.

use super::metrics::{Family, counter, counts, float, gauge, one};

pub(super) static FAMILIES: [Family; 4] = [
    counter("crossfade_table_rows_total", "outcome", "Rows for the table, by what became of them.", |s| {
        counts(&s.snapshot.table_rows)
    }),
    counter("crossfade_table_requests_total", "result", "Requests to the table.", |s| {
        counts(&s.snapshot.table_requests)
    }),
    gauge("crossfade_table_waiting_bytes", "", "Bytes that wait for the table.", |s| {
        one(float(s.snapshot.table_waiting_bytes))
    }),
    counter(
        "crossfade_table_proofs_total",
        "",
        "Messages that Realtime did not deliver and the table has; part of confirmed.",
        |s| one(float(s.snapshot.table_proofs)),
    ),
];
