//! The gateway layer's descriptors.

use skein_model::{Gateway, Service};

/// The schema of all services as one.
const SCHEMA: &str = include_str!("../../graph/schema.graphql");

/// The gateway: the GraphQL of these services, each under its name and all of them as one.
pub fn gateway(services: &[Service]) -> Gateway {
    Gateway::new(services.iter().map(|service| service.name.clone()).collect(), SCHEMA)
}

/// The files that Front Door shows, by path.
pub const PAGES: &[(&str, &[u8])] = &[
    ("LICENSE-signalr.txt", include_bytes!("../../site/shop/LICENSE-signalr.txt")),
    ("index.html", include_bytes!("../../site/shop/index.html")),
    ("live.js", include_bytes!("../../site/shop/live.js")),
    ("shop.css", include_bytes!("../../site/shop/shop.css")),
    ("shop.js", include_bytes!("../../site/shop/shop.js")),
    ("sign-in.js", include_bytes!("../../site/shop/sign-in.js")),
    ("signalr.min.js", include_bytes!("../../site/shop/signalr.min.js")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_shown() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../site/shop");
        let files = folder.read_dir().unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<String> = files.filter(|file| file != "README.md").collect();
        files.sort();
        assert_eq!(PAGES.iter().map(|(path, _)| *path).collect::<Vec<_>>(), files);
    }
}
