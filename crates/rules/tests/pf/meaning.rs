//! What rules mean for frames.
