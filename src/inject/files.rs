//! The template that is in use, and the file that it comes from. What was read is what is used; like certificates,
//! new content must be the same for two looks.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::template::{Template, TemplateError};

/// The template, replaced when its file changes.
#[derive(Debug)]
pub struct LiveTemplate {
    slot: ArcSwap<Template>,
}

/// The file's past: what is used, what was seen last, what was complained about.
#[derive(Debug)]
pub struct TemplateWatch {
    applied: Vec<u8>,
    last: Result<Vec<u8>, String>,
    told: Option<String>,
}

/// What a look at the file found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateLook {
    /// Nothing to be done.
    Same,
    /// New content is in use.
    Applied,
    /// New content cannot be used; told once.
    Refused(String),
}

impl LiveTemplate {
    /// The first content.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn open(bytes: Vec<u8>) -> Result<(Arc<Self>, TemplateWatch), TemplateError> {
        let slot = ArcSwap::from_pointee(Template::read(&bytes)?);
        let watch = TemplateWatch { applied: bytes.clone(), last: Ok(bytes), told: None };
        Ok((Arc::new(Self { slot }), watch))
    }

    /// What is in use now.
    #[must_use]
    pub fn load(&self) -> Arc<Template> {
        self.slot.load_full()
    }

    /// Takes what the file holds now.
    pub fn look(&self, watch: &mut TemplateWatch, read: Result<Vec<u8>, String>) -> TemplateLook {
        let settled = watch.last == read;
        watch.last.clone_from(&read);
        if read.as_ref().is_ok_and(|bytes| *bytes == watch.applied) {
            watch.told = None;
            return TemplateLook::Same;
        }
        if !settled {
            return TemplateLook::Same;
        }
        let made = read.and_then(|bytes| match Template::read(&bytes) {
            Ok(template) => Ok((bytes, template)),
            Err(error) => Err(error.to_string()),
        });
        match made {
            Ok((bytes, template)) => {
                self.slot.store(Arc::new(template));
                watch.applied = bytes;
                watch.told = None;
                TemplateLook::Applied
            }
            Err(why) if watch.told.as_ref() == Some(&why) => TemplateLook::Same,
            Err(why) => {
                watch.told = Some(why.clone());
                TemplateLook::Refused(why)
            }
        }
    }
}
