//! What a resource may be called, by its type.

/// Which characters a name may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Letters {
    /// Small letters and digits.
    Small,
    /// Letters and digits, a letter first.
    Plain,
    /// Letters, digits and hyphens, neither first nor last.
    Hyphens,
    /// Letters, digits, and `-_.()`, no point at the end.
    Wide,
    /// Whatever is not `*#&+:<>?/` or blank.
    Most,
    /// A UUID.
    Uuid,
}

/// What a resource of a type may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameRule {
    /// How many characters at least.
    pub shortest: usize,
    /// How many at most.
    pub longest: usize,
    /// Which characters.
    pub letters: Letters,
}

/// From the types' own patterns where they have one; the rest is from memory of Azure's naming rules.
const RULES: &[(&str, usize, usize, Letters)] = &[
    ("Microsoft.ApiManagement/service", 1, 50, Letters::Hyphens),
    ("Microsoft.ApiManagement/service/apis", 1, 80, Letters::Hyphens),
    ("Microsoft.ApiManagement/service/backends", 1, 80, Letters::Hyphens),
    ("Microsoft.ApiManagement/service/policyFragments", 1, 80, Letters::Hyphens),
    ("Microsoft.Authorization/roleAssignments", 36, 36, Letters::Uuid),
    ("Microsoft.Cdn/profiles", 1, 260, Letters::Hyphens),
    ("Microsoft.Cdn/profiles/afdEndpoints", 2, 46, Letters::Hyphens),
    ("Microsoft.Consumption/budgets", 1, 63, Letters::Wide),
    ("Microsoft.EventGrid/topics", 3, 50, Letters::Hyphens),
    ("Microsoft.EventGrid/topics/eventSubscriptions", 3, 64, Letters::Hyphens),
    ("Microsoft.Insights/components", 1, 255, Letters::Wide),
    ("Microsoft.KeyVault/vaults", 3, 24, Letters::Hyphens),
    ("Microsoft.KeyVault/vaults/keys", 1, 127, Letters::Hyphens),
    ("Microsoft.KeyVault/vaults/secrets", 1, 127, Letters::Hyphens),
    ("Microsoft.ManagedIdentity/userAssignedIdentities", 3, 128, Letters::Wide),
    ("Microsoft.Network/FrontDoorWebApplicationFirewallPolicies", 1, 128, Letters::Plain),
    ("Microsoft.OperationalInsights/workspaces", 4, 63, Letters::Hyphens),
    ("Microsoft.Resources/deployments", 1, 64, Letters::Wide),
    ("Microsoft.Resources/resourceGroups", 1, 90, Letters::Wide),
    ("Microsoft.ServiceBus/namespaces", 6, 50, Letters::Hyphens),
    ("Microsoft.ServiceBus/namespaces/queues", 1, 260, Letters::Wide),
    ("Microsoft.SignalRService/signalR", 3, 63, Letters::Hyphens),
    ("Microsoft.Storage/storageAccounts", 3, 24, Letters::Small),
    ("Microsoft.Storage/storageAccounts/blobServices/containers", 3, 63, Letters::Hyphens),
    ("Microsoft.Storage/storageAccounts/tableServices/tables", 3, 63, Letters::Plain),
    ("Microsoft.Web/serverfarms", 1, 60, Letters::Hyphens),
    ("Microsoft.Web/sites", 2, 60, Letters::Hyphens),
];

impl NameRule {
    /// The rule of a type: a lenient one where nothing stricter is known.
    pub fn of(kind: &str) -> Self {
        let known = RULES.iter().find(|(known, ..)| *known == kind);
        let (_, shortest, longest, letters) = known.copied().unwrap_or((kind, 1, 260, Letters::Most));
        NameRule { shortest, longest, letters }
    }
}

impl Letters {
    /// Whether the whole name, or a part of it that is known, is of these characters alone.
    pub fn take(self, text: &str) -> bool {
        let plain = |letter: char| letter.is_ascii_alphanumeric();
        text.chars().all(|letter| match self {
            Letters::Small => letter.is_ascii_lowercase() || letter.is_ascii_digit(),
            Letters::Plain => plain(letter),
            Letters::Hyphens => plain(letter) || letter == '-',
            Letters::Uuid => letter.is_ascii_hexdigit() || letter == '-',
            Letters::Wide => plain(letter) || "-_.()".contains(letter),
            Letters::Most => !"*#&+:<>?/\\".contains(letter) && !letter.is_whitespace() && !letter.is_control(),
        })
    }

    /// What a text of these characters alone matches.
    pub fn pattern(self) -> &'static str {
        match self {
            Letters::Small => "^[a-z0-9]*$",
            Letters::Plain => "^[A-Za-z0-9]*$",
            Letters::Hyphens => "^[A-Za-z0-9-]*$",
            Letters::Uuid => "^[A-Fa-f0-9-]*$",
            Letters::Wide => r"^[A-Za-z0-9_.()-]*$",
            Letters::Most => r"^[^*#&+:<>?/\\\s\x00-\x1f\x7f-\x9f]*$",
        }
    }

    /// Whether a name may begin with this character.
    pub fn begin(self, letter: char) -> bool {
        match self {
            Letters::Plain => letter.is_ascii_alphabetic(),
            Letters::Hyphens => letter.is_ascii_alphanumeric(),
            _ => true,
        }
    }

    /// Whether a name may end with this character.
    pub fn end(self, letter: char) -> bool {
        match self {
            Letters::Hyphens => letter != '-',
            Letters::Wide => letter != '.',
            _ => true,
        }
    }
}

impl std::fmt::Display for Letters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Letters::Small => "small letters and digits",
            Letters::Plain => "letters and digits, a letter first",
            Letters::Hyphens => "letters, digits and hyphens, no hyphen first or last",
            Letters::Uuid => "a UUID",
            Letters::Wide => "letters, digits and -_.(), no point at the end",
            Letters::Most => "no blanks and none of *#&+:<>?/\\",
        })
    }
}
