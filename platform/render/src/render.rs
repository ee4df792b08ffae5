//! Everything that is rendered from a graph, as files: what `cargo xtask render` writes.

use skein_model::Graph;

use crate::diagram::diagram;
use crate::layers::{RenderError, layers};
use crate::{arm, bicep, policy};

/// The rendered files by path, in the order of their paths: `arm/{layer}.json`, `bicep/{layer}.bicep` and below,
/// `policies/{tier}/{api}.xml`, `policies/fragments/{name}.xml` and `diagram.md`. The same graph gives the same bytes.
///
/// # Errors
/// Everything that is wrong with the graph's layers.
pub fn render(graph: &Graph) -> Result<Vec<(String, String)>, Vec<RenderError>> {
    let layers = layers(graph)?;
    let (mut files, mut errors) = (Vec::new(), Vec::new());
    let tera = bicep::text_of_modules();
    for layer in &layers {
        // What is wrong with the templates themselves was told with all layers.
        match arm::printed(&layer.template) {
            Ok(text) => files.push((format!("arm/{}.json", layer.name), text)),
            Err(flaws) => {
                errors.extend(flaws.into_iter().map(|flaw| RenderError::Template { layer: layer.told(), flaw }));
            }
        }
        let modules = bicep::printed(&tera, &layer.name, &layer.template).into_iter();
        files.extend(modules.map(|(path, text)| (format!("bicep/{path}"), text)));
    }
    files.extend(policy::files(graph).map_err(|error| vec![RenderError::from(error)])?);
    files.push(("diagram.md".to_owned(), diagram(graph)));
    files.sort();
    if errors.is_empty() { Ok(files) } else { Err(errors) }
}
