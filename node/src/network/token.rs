//! The token that lets people and nodes change the cluster.

/// The secret that all nodes and administrators of a cluster share.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterToken(String);

impl ClusterToken {
    /// A token; `None` when the text is empty, which opens nothing.
    #[must_use]
    pub fn new(token: impl Into<String>) -> Option<Self> {
        Some(token.into()).filter(|token| !token.is_empty()).map(Self)
    }

    /// As it goes over the wire.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Compares without telling by its time how much of a guess is right.
    pub(crate) fn is(&self, guess: &[u8]) -> bool {
        let token = self.0.as_bytes();
        let differing = token.iter().zip(guess).fold(0, |bits, (a, b)| bits | (a ^ b));
        token.len() == guess.len() && differing == 0
    }
}

impl std::fmt::Debug for ClusterToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterToken(..)")
    }
}
