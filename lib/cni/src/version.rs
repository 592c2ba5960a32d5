//! Versions of the protocol.

/// A version of the CNI specification that is spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 0.3.0: the first with chains and `interfaces`.
    V0_3_0,
    /// 0.3.1: as 0.3.0, with spelling mended.
    V0_3_1,
    /// 0.4.0: brought CHECK, and `prevResult` for DEL.
    V0_4_0,
    /// 1.0.0: took `version` out of `ips`.
    V1_0_0,
    /// 1.1.0: brought GC and STATUS, and more fields of interfaces and routes.
    V1_1_0,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Self; 5] = [Self::V0_3_0, Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];
    /// The newest.
    pub const NEWEST: Self = Self::V1_1_0;

    /// As configurations have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// The version of that name; `None`: it is not spoken here.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_known_by_its_exact_name() {
        for version in Version::ALL {
            assert_eq!(Version::named(version.name()), Some(version));
        }
        for other in ["", "0.2.0", "1.0", "1.1.0 ", "v1.0.0", "1.2.0"] {
            assert_eq!(Version::named(other), None, "{other}");
        }
    }
}
