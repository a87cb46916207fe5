-- A category that models count by and that no page has would make its figures, labels among them,
-- silently 0. One row per missing category.
with

used as (

    select explode(array(
        'song', 'thumbs_up', 'thumbs_down', 'playlist_add', 'friend_add', 'advert', 'error',
        'home', 'help', 'settings', 'logout', 'upgrade_visit', 'downgrade_visit', 'upgrade',
        'downgrade', 'cancellation'
    )) as page_category

)

select used.page_category
from used
left anti join {{ ref('page_catalogue') }} as pages
    on used.page_category = pages.page_category
