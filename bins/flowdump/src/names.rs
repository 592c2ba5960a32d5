//! Where names come from: `--pods`.

use std::fs::File;
use std::io::{self, Read};

use chainkit_cli::{Exit, Failure};
use chainkit_cluster::Objects;

use crate::cli::Options;

/// The Kubernetes objects of `--pods`; none without it. What could not be used is told on stderr.
///
/// # Errors
/// When the file cannot be read or is no JSON.
pub(crate) fn objects(options: &Options) -> anyhow::Result<Objects> {
    let mut objects = Objects::default();
    let Some(path) = &options.pods else {
        return Ok(objects);
    };
    let place = path.display().to_string();
    let input: Box<dyn Read> = if place == "-" {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path);
        Box::new(file.map_err(|error| Failure::usage(format!("cannot open --pods {place}: {error}")))?)
    };
    let place = if place == "-" { "stdin".to_owned() } else { place };
    let warnings = objects.read(input, &place).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    for warning in warnings {
        options.log.warning(warning);
    }
    if objects.is_empty() {
        options
            .log
            .warning(format!("{place} holds no pods, services, nodes or namespaces: flows bear no names from it"));
    }
    Ok(objects)
}
