//! Runs `cremactl` as a user would.

use crate::process::run;

/// Runs it; the output, or the error.
///
/// # Errors
/// What it printed when it failed.
pub fn ctl(args: &[&str]) -> Result<String, String> {
    let output = run("cremactl", args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        // What ails a cluster is the answer, and no complaint.
        false => Err(text(&output.stderr) + &text(&output.stdout)),
    }
}
